"""Several processes that train one model: what each does of a step, and what they tell one another.

    torchrun --nproc-per-node 2 -m training.signflow.recipe --data recordings/common_signs.npz

Every process holds the whole network and draws every batch, from the same chance; it computes the loss of its own part
of the batch, and the gradients are averaged (Li et al., PyTorch Distributed, 2020), so that all take the step that one
process would take on the whole batch. The first process alone scores, logs and writes; the others follow. torchrun
starts all of them again when one dies, and they continue from the last epoch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """The processes that train together, seen from one of them.

    Attributes
    ----------
    rank
        Which one this is, from 0.
    size
        How many there are.
    device
        What this one computes on: "cpu", or a GPU of its own.
    restarts
        How often torchrun has restarted them.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    restarts: int = 0

    @property
    def first(self) -> bool:
        """Whether this one scores, logs and writes."""
        return self.rank == 0

    def part(self, count: int) -> tuple[npt.NDArray[np.int64], float]:
        """Return which rows of a batch of `count` this process computes, and what its mean loss of them weighs.

        Each part that has row i has row ``count - 1 - i`` too: who pairs a batch with its reverse (mixup) finds in the
        parts the pairs of the whole. The mean over the processes of weight times mean is the mean of the whole batch.
        A process for which no row is left computes one at weight 0, because all have to take part in a step.
        """
        pairs = np.arange(self.rank, (count + 1) // 2, self.size)
        rows = np.unique(np.concatenate([pairs, count - 1 - pairs])).astype(np.int64)
        return (rows, len(rows) * self.size / count) if len(rows) else (np.zeros(1, np.int64), 0.0)

    def averaging(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes as they are computed."""
        return module if self.size == 1 else DistributedDataParallel(module, forward_sync_buffers=False)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a value over the processes."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def from_first(self, measure: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        """Return what the first process measures; the others wait for it."""
        if self.size == 1:
            return measure()
        text = json.dumps(dict(measure())).encode() if self.first else b""
        length = torch.tensor(len(text), device=self.device)
        dist.broadcast(length, 0)
        letters = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.first:
            letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(letters, 0)
        received: dict[str, float] = json.loads(letters.cpu().numpy().tobytes())
        return received

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started; without torchrun this process is alone.

    Parameters
    ----------
    device
        "cpu", where they speak by gloo, or "cuda", where each has a GPU and they speak by NCCL.
    """
    size = int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1
    if size == 1:
        yield Team(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    store, rank, _ = next(rendezvous("env://"))
    # torchrun's store outlives a restart, and with it the addresses of processes that are dead
    restart_store = PrefixStore(f"restart-{restarts}", store)
    dist.init_process_group("gloo" if device == "cpu" else "nccl", store=restart_store, rank=rank, world_size=size)
    yield Team(rank, size, device, restarts)
    dist.destroy_process_group()  # not after an error: it could wait for a process that is dead

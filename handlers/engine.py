"""The engines that run a graph: ONNX Runtime first, a `torch.export` program where that cannot load.

Before both comes `handlers.reduced`, where the certificate permits bfloat16 and the machine has it. All take and give
named numpy arrays. Threads come from ``OMP_NUM_THREADS``, which the supervisor sets so that workers x threads never
exceed the cores.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from archives.certificate import Arrays, check_replay, read_cases
from archives.contract import ArchiveError, Contract, read_json
from handlers.reduced import ReducedEngine

logger = logging.getLogger(__name__)

PRECISIONS = ("reduced", "float32")
"""What ``handler: precision:`` in `model-config.yaml` may ask for: bfloat16 where certificate and machine allow it (as
does an archive that says nothing), or never."""


class Engine(Protocol):
    """A loaded graph."""

    name: str

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute every output for a batch of inputs."""
        ...


class OnnxEngine:
    """A graph in ONNX Runtime: on the worker's GPU when it has one, else on the CPU.

    Parameters
    ----------
    path : Path
        The `.onnx` file.
    contract : Contract
        Whose inputs and outputs the graph must have.
    gpu : int or None
        CUDA device of this worker.
    """

    def __init__(self, path: Path, contract: Contract, gpu: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        # A spinning thread pool takes the cores from TorchServe and the gateway between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        providers: list[Any] = ["CPUExecutionProvider"]
        if gpu is not None and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            onnxruntime.preload_dlls()  # CUDA and cuDNN as torch's packages brought them
            # TF32 would move the logits by more than the certificate tolerates.
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu, "use_tf32": 0}))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._outputs = [output.name for output in self._session.get_outputs()]
        found = ([node.name for node in self._session.get_inputs()], self._outputs)
        promised = ([one.name for one in contract.inputs], [one.name for one in contract.outputs])
        if found != promised:
            raise ArchiveError(f"{path.name}: inputs and outputs {found}, contract.json promises {promised}")
        self.name = f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute every output for a batch of inputs."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class TorchEngine:
    """A `torch.export` program (`.pt2`); takes and gives what `OnnxEngine` does."""

    def __init__(self, path: Path, contract: Contract, gpu: int | None) -> None:
        import torch

        torch.set_num_threads(threads())
        self._torch = torch
        self._device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
        self._module = torch.export.load(path).module().to(self._device)
        self._inputs = [one.name for one in contract.inputs]
        self._outputs = [one.name for one in contract.outputs]
        self.name = f"torch {torch.__version__} {self._device}"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute every output for a batch of inputs."""
        tensors = [self._torch.tensor(np.asarray(inputs[name]), device=self._device) for name in self._inputs]
        with self._torch.inference_mode():
            outputs = self._module(*tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: output.cpu().numpy() for name, output in zip(self._outputs, outputs, strict=True)}


@dataclass(frozen=True)
class Proven:
    """An engine that answered the golden inputs as certified, and how exactly it did."""

    engine: Engine
    proof: str


def open_proven(folder: Path, contract: Contract, gpu: int | None) -> Proven:
    """Open the fastest engine that the certificate and this machine allow, and replay the golden inputs in it.

    They are replayed in float32 first, whatever serves: a graph that bfloat16 cannot tell from the certified one is
    another graph all the same.

    Parameters
    ----------
    folder : Path
        The unpacked archive.
    contract : Contract
    gpu : int or None
        CUDA device of this worker.

    Raises
    ------
    ArchiveError
        If no engine loads the graph, the one that does answers otherwise than certified, or the archive asks for a
        precision that is none of `PRECISIONS`.
    """
    settings = yaml.safe_load((folder / "model-config.yaml").read_text()).get("handler") or {}
    precision = settings.get("precision", "reduced")
    if precision not in PRECISIONS:
        raise ArchiveError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    cases = read_cases(folder / "certificate.npz")
    certificate = read_json(folder / "certificate.json")

    def proven(engine: Engine, tolerance: float) -> Proven:
        gap = check_replay(cases, engine.run, tolerance)
        return Proven(
            engine,
            f"{len(cases)} golden inputs replayed on {engine.name}, largest gap {gap.value:.2g} "
            f"(tolerance {tolerance:.2g}) in '{gap.case}'",
        )

    usual = proven(open_engine(folder, contract, gpu), float(certificate["tolerance"]))
    if not (permission := certificate.get("reduced")) or gpu is not None or precision == "float32":
        return usual
    try:
        reduced = proven(ReducedEngine(folder / "model.onnx", contract, threads()), float(permission["tolerance"]))
    except Exception as error:  # whatever it is, float32 is there
        logger.warning("%s %s serves in float32: %s", contract.model, contract.version, error)
        return usual
    return Proven(reduced.engine, f"{usual.proof}; {reduced.proof}")


def open_engine(folder: Path, contract: Contract, gpu: int | None) -> Engine:
    """Load an unpacked archive's graph in the first engine that takes it, and say so when it is not the first.

    Raises
    ------
    ArchiveError
        If no engine loads it; the message quotes each engine's own reason.
    """
    refused = []
    for kind, file in ((OnnxEngine, "model.onnx"), (TorchEngine, "model.pt2")):
        if not (folder / file).exists():
            refused.append(f"{file} is not in the archive")
            continue
        try:
            return kind(folder / file, contract, gpu)
        except ArchiveError:
            raise
        except Exception as error:  # each engine has exceptions of its own
            refused.append(f"{file}: {type(error).__name__}: {error}")
            logger.warning("%s does not load, trying the next engine: %s", file, error)
    raise ArchiveError(f"no engine loads {contract.model} {contract.version}: " + "; ".join(refused))


def threads() -> int:
    """Return how many threads one worker may compute with (1 unless ``OMP_NUM_THREADS`` says more)."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1")))

"""Where a training run stands, on disk: tensors and a JSON note in one safetensors file; no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from archives.errors import MarinaError

if TYPE_CHECKING:  # torch takes seconds, for which code that catches a CheckpointError need not wait
    from torch import Tensor

_NOTE = "note"


class CheckpointError(MarinaError):
    """A checkpoint cannot be read, or belongs to another run."""


def write(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one, whole.

    Parameters
    ----------
    path
        The file; its folder is made where missing.
    tensors
        Named tensors.
    note
        Anything JSON can hold.
    """
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    whole = save(
        {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, {_NOTE: json.dumps(note)}
    )
    with unfinished.open("wb") as file:
        file.write(whole)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Returns
    -------
    tensors : dict of str to torch.Tensor
        On the CPU.
    note : dict
        As it was written.

    Raises
    ------
    CheckpointError
        If the file is not a whole checkpoint.
    FileNotFoundError
        If there is no such file.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            note: dict[str, Any] = json.loads((file.metadata() or {})[_NOTE])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"expected a checkpoint in {path}, got: {error}; delete it to start again") from error
    return tensors, note


def group(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors named ``name/...``, by the rest of their names."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def grouped(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors renamed to ``name/...``."""
    return {f"{name}/{key}": value for key, value in tensors.items()}

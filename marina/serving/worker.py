"""What each worker process starts with, in place of TorchServe's own script: prepares the process, then runs that.

Java is given this file as its Python (`marina.serving.run_dir.RunDir.python`). It runs in every worker, isolated
(``python -I``), so that nothing of the archive runs before it; it needs the standard library alone.

**Confined.** Model code reads libraries and its own archive, adds files to the spool, and has a folder of its own
(``TMPDIR``, ``HOME``). It reaches no other file, process, socket or network (`marina.processes.confinement`), and ends
with TorchServe however that ends.

**Without torch.** TorchServe's worker imports torch to ask of an answer that is neither bytes nor text whether it is a
tensor: 300 MB and most of a worker's start, for a question that bytes never reach. Here the one module that asks gets
a substitute, which imports the real torch when it is used; everything else in the process imports the real one.
0.12.0 is the last release; another one is left as it is.
"""

import importlib
import json
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from marina.processes import confinement
from marina.processes.confinement import ADD_FILES, READ, WRITE, Grant, Right
from marina.processes.libc import PR_SET_PDEATHSIG, libc

ROOT = Path(__file__).resolve().parents[2]

TORCHSERVE = "0.12.0"
"""The release of which it is known what its worker wants of torch."""

ASKS = "ts.protocol.otf_message_handler"


class _Tensors(type):
    """The type of a class of which exactly torch's tensors are instances."""

    def __instancecheck__(cls, instance: object) -> bool:
        torch = sys.modules.get("torch")  # where it was never imported there is no tensor
        return torch is not None and isinstance(instance, torch.Tensor)


class Torch(ModuleType):
    """Stands in for torch where nothing but `isinstance(x, torch.Tensor)` is expected of it."""

    class Tensor(metaclass=_Tensors):
        """What `isinstance` compares with."""

    def __getattr__(self, name: str) -> Any:
        """Return what the real torch has under that name, which is imported for it."""
        return getattr(importlib.import_module("torch"), name)


def without_torch() -> str:
    """Let TorchServe's message handler use `Torch`; returns why it does not, empty when it does."""
    import ts

    if (release := ts.__version__.strip()) != TORCHSERVE:
        return f"TorchServe {release} is not {TORCHSERVE}: its workers import torch, 300 MB each"
    if "torch" in sys.modules or ASKS in sys.modules:
        return f"{ASKS} or torch was imported before: this worker keeps it"
    sys.modules["torch"] = Torch("torch")
    try:
        importlib.import_module(ASKS)
    finally:
        del sys.modules["torch"]
    return ""


def confine(socket: Path) -> None:
    """Leave to this process what a worker needs.

    Parameters
    ----------
    socket
        Where it will listen for TorchServe. Whatever lies there is of a worker that ended.

    Raises
    ------
    marina.processes.confinement.ConfinementError
        When the kernel refuses: then no archive is loaded.
    """
    own = socket.with_name(f".own{socket.suffix}")
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700)
    socket.unlink(missing_ok=True)
    os.environ |= {"TMPDIR": str(own), "TEMP": str(own), "HOME": str(own)}
    confinement.give_up_privileges()
    confinement.give_up_files(
        [
            *confinement.SYSTEM,
            *confinement.devices(),
            *(Grant(place, READ) for place in (sys.prefix, sys.base_prefix, *sys.path, os.getcwd())),
            Grant(socket.parent, Right.MAKE_SOCK),
            Grant(own, WRITE),
            *(Grant(place, ADD_FILES) for place in [os.environ.get("MARINA_SPOOL")] if place),
            *(Grant(place, WRITE) for place in json.loads(os.environ.get("MARINA_WORKER_PATHS") or "[]")),
        ]
    )
    confinement.give_up_calls(network=os.environ.get("MARINA_WORKER_NETWORK") == "1")
    # TorchServe's thread that started this process stays with it, so the thread's end is its worker's.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(script: str) -> None:
    """Prepare this process, and become TorchServe's worker."""
    # Nothing of the project: an archive brings what it imports of it.
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != ROOT]
    socket = Path(sys.argv[sys.argv.index("--sock-name") + 1])
    confine(socket)
    for name in [name for name in sys.modules if name.partition(".")[0] == "marina"]:
        del sys.modules[name]
    sys.path[:0] = [place or os.getcwd() for place in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if notice := without_torch():
        print(notice, flush=True)
    try:
        runpy.run_path(script, run_name="__main__")
    except PermissionError:  # it removes its socket at the end, which it may not; it has said why it ends
        sys.exit(1)


if __name__ == "__main__":
    del sys.argv[0]  # as if TorchServe's script had been started itself
    main(sys.argv[0])

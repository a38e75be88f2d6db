"""The engines that run a graph: ONNX Runtime, before it `handlers.bfloat16_engine` where certificate and machine allow.

Both take and give named numpy arrays. Threads come from ``OMP_NUM_THREADS``, which the supervisor sets so that workers
x threads never exceed the cores.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from numpy.typing import NDArray

from archives.certificate import Arrays, check_replay, read_cases
from archives.contract import ArchiveError, Contract, read_json
from handlers.bfloat16_engine import ReducedEngine

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
        declared = ([one.name for one in contract.inputs], [one.name for one in contract.outputs])
        if found != declared:
            raise ArchiveError(f"{path.name}: inputs and outputs {found}, contract.json declares {declared}")
        self.name = f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute every output for a batch of inputs."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


@dataclass(frozen=True)
class VerifiedEngine:
    """An engine that answered the golden inputs as certified, and how exactly it did."""

    engine: Engine
    proof: str


def open_verified(folder: Path, contract: Contract, gpu: int | None) -> VerifiedEngine:
    """Open the fastest engine that the certificate and this machine allow, and replay the golden inputs in it.

    They are replayed in float32 first, whatever serves: a graph that bfloat16 cannot tell from the certified one is
    another graph anyway.

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
        If the engine does not load the graph, answers differently from its certificate, or the archive asks for a
        precision that is none of `PRECISIONS`.
    """
    settings = yaml.safe_load((folder / "model-config.yaml").read_text()).get("handler") or {}
    precision = settings.get("precision", "reduced")
    if precision not in PRECISIONS:
        raise ArchiveError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    cases = read_cases(folder / "certificate.npz")
    certificate = read_json(folder / "certificate.json")

    def verify(engine: Engine, tolerance: float) -> VerifiedEngine:
        gap = check_replay(cases, engine.run, tolerance)
        return VerifiedEngine(
            engine,
            f"{len(cases)} golden inputs replayed on {engine.name}, largest gap {gap.value:.2g} "
            f"(tolerance {tolerance:.2g}) in '{gap.case}'",
        )

    usual = verify(open_engine(folder, contract, gpu), float(certificate["tolerance"]))
    if not (permission := certificate.get("reduced")) or gpu is not None or precision == "float32":
        return usual
    try:
        reduced = verify(ReducedEngine(folder / "model.onnx", contract, threads()), float(permission["tolerance"]))
    except Exception as error:  # whatever it is, float32 is there
        logger.warning("%s %s serves in float32: %s", contract.model, contract.version, error)
        return usual
    return VerifiedEngine(reduced.engine, f"{usual.proof}; {reduced.proof}")


def open_engine(folder: Path, contract: Contract, gpu: int | None) -> Engine:
    """Load an unpacked archive's graph in float32.

    Raises
    ------
    ArchiveError
        If the engine does not load it; the message quotes the engine's own reason.
    """
    try:
        return OnnxEngine(folder / "model.onnx", contract, gpu)
    except ArchiveError:
        raise
    except Exception as error:  # the engine has exceptions of its own
        raise ArchiveError(
            f"ONNX Runtime does not load {contract.model} {contract.version}: {type(error).__name__}: {error}"
        ) from error


def threads() -> int:
    """Return how many threads one worker may compute with (1 unless ``OMP_NUM_THREADS`` says more)."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1")))

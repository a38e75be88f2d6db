"""A release to a `.mar`: measure the gap, certify, collect the code that serves, pack, and prove the result.

The bytes of an archive depend on its release and on this source tree alone: no clock, no path, no order of a
directory enters them. Built twice, it has the same SHA-256.
"""

import ast
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from model_archiver.manifest_components.manifest import RuntimeType
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_packaging_utils import ModelExportUtils
from numpy.typing import NDArray

from archives.certificate import (
    Arrays,
    Case,
    CertificateError,
    Gap,
    Reduced,
    check_replay,
    write_cases,
    write_certificate,
    write_npz,
)
from archives.contract import Contract, canonical_json, write_contract
from archives.store import pack
from handlers.engine import OnnxEngine, TorchEngine
from training.sbom import software_bill

TOLERANCE = 1e-4
"""Largest gap on a network's logits between the trained model and what serves (absolute)."""

TABULAR_TOLERANCE = 1e-5
"""The same for what trees and linear models answer."""

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("archives", "handlers", "models")
"""The rooms whose code travels in an archive."""

PACKAGES = (
    "numpy", "onnx", "onnxruntime", "onnxscript", "openvino", "scikit-learn", "skl2onnx", "torch", "torch-geometric",
    "torch-model-archiver", "xgboost-cpu",
)  # fmt: skip
"""Distributions whose versions the provenance names; the SBOM lists them all."""

SERVICE = '''"""TorchServe's way into this archive; one handler per worker."""

import sys
from pathlib import Path

from {module} import {name}

_here = Path(__file__).resolve().parent
for _name, _module in list(sys.modules.items()):
    if _name.split(".")[0] in {rooms} and not Path(_module.__file__ or "/").is_relative_to(_here):
        raise RuntimeError(f"{{_name}} was imported from {{_module.__file__}}, not from this archive")

_handler = {name}()


def handle(data, context):
    """Answer a batch; TorchServe's first call, without data, loads the model."""
    if data is None:
        return _handler.initialize(context)
    return _handler.handle(data, context)
'''


Decide = Callable[[Arrays], NDArray[Any]]


def largest(outputs: Arrays) -> NDArray[Any]:
    """Return the position of the largest number in each row of the first output."""
    positions: NDArray[Any] = next(iter(outputs.values())).argmax(axis=-1)
    return positions


@dataclass(frozen=True)
class Release:
    """Everything an archive is made of.

    Attributes
    ----------
    contract : Contract
    handler : str
        The class that answers, such as ``handlers.signflow:SignFlowHandler``.
    onnx : bytes
    program : bytes or None
        The `.pt2` fallback where there is one.
    cases : tuple of Case
        Golden inputs and the TRAINED model's answers to them, computed before any export.
    example : mapping
        A request body that the model answers, as a client would send it in JSON.
    reference : mapping of str to ndarray
        Distributions at training time, for drift.
    provenance : mapping
        Git commit, data manifest hash, MLflow run, parameters, metrics.
    serving : mapping
        TorchServe's per-model settings, and the handler's own under ``handler``.
    tolerance : float
        Largest gap on any output that the certificate allows.
    evaluation : tuple of Case
        Held-out inputs with the trained model's answers: none may be decided otherwise by what serves. They are
        counted in the certificate and not stored.
    decide : callable
        What is decided by the outputs, as an array of anything comparable; by default the largest of the first one.
    family_data : mapping or None
        What the family's handler reads besides the graph, such as rules.
    reduced : Reduced or None
        The permission to serve in bfloat16, from `training.reduction`.
    """

    contract: Contract
    handler: str
    onnx: bytes
    cases: tuple[Case, ...]
    example: Mapping[str, Any]
    reference: Arrays
    provenance: Mapping[str, Any]
    program: bytes | None = None
    serving: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    evaluation: tuple[Case, ...] = ()
    decide: Decide = largest
    family_data: Mapping[str, Any] | None = None
    reduced: Reduced | None = None


def served(pass_limit: int, workers: int = 1, batch: int = 32) -> dict[str, Any]:
    """Return how TorchServe is to serve a model.

    Parameters
    ----------
    pass_limit
        How much goes into one forward pass, in what `Handler.size` counts.
    workers
        Processes: two where a forward pass takes a core for a millisecond or more, so that one answers while the
        other is restarted; one where a row costs microseconds, since the gateway asks again.
    batch
        Most requests a worker is given at once.
    """
    return {
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": batch,
        "responseTimeout": 30,
        "startupTimeout": 120,
        "jobQueueSize": 256,
        "handler": {"pass_limit": pass_limit},
    }


@dataclass(frozen=True)
class Built:
    """A built archive: where it is, its SHA-256, and the gap its certificate states."""

    path: Path
    sha256: str
    gap: float


def build(release: Release, store: Path) -> Built:
    """Build `<model>-<version>.mar` in the store.

    Raises
    ------
    CertificateError
        If a graph answers a golden input otherwise than the trained model did, beyond the release's tolerance, or
        decides a held-out input otherwise.
    ArchiveError
        If the linter refuses the result.
    """
    contract = release.contract
    if not release.cases:
        raise CertificateError(f"{contract.model}: an archive needs at least one golden input")
    graphs = {"model.onnx": release.onnx}
    if release.program is not None:
        graphs["model.pt2"] = release.program
    members = {
        **graphs,
        **_code(release.handler),
        "MAR-INF/MANIFEST.json": _manifest(contract),
        "certificate.npz": write_cases(release.cases),
        "contract.json": write_contract(contract),
        "example.json": json.dumps(release.example, separators=(",", ":"), allow_nan=False).encode(),
        "model-config.yaml": yaml.safe_dump(dict(release.serving), sort_keys=True).encode(),
        "provenance.json": canonical_json({**release.provenance, "packages": _packages()}),
        "reference.npz": write_npz(release.reference),
        "sbom.json": software_bill(),
    }
    if release.family_data is not None:
        members["family.json"] = canonical_json(release.family_data)
    gap = max((_measure(file, graph, release) for file, graph in graphs.items()), key=lambda gap: gap.value)
    decided = sum(len(release.decide(case.outputs)) for case in release.evaluation)
    members["certificate.json"] = write_certificate(
        members, release.cases, release.tolerance, gap, decided, release.reduced
    )
    path = store / f"{contract.model}-{contract.version}.mar"
    return Built(path, pack(members, path), gap.value)


def _measure(file: str, graph: bytes, release: Release) -> Gap:
    """Replay the golden inputs through one exported graph, in the engine that will serve it; compare its decisions."""
    with tempfile.TemporaryDirectory(prefix="marina-certify-") as folder:
        path = Path(folder) / file
        path.write_bytes(graph)
        kind = OnnxEngine if file.endswith(".onnx") else TorchEngine
        run = kind(path, release.contract, None).run
        gap = check_replay(release.cases, run, release.tolerance)
        for case in release.evaluation:
            flipped = release.decide(run(case.inputs)) != release.decide(case.outputs)
            if flips := int(np.count_nonzero(flipped)):
                raise CertificateError(
                    f"{release.contract.model}: {file} decides {flips} of {flipped.size} held-out inputs "
                    f"('{case.name}') otherwise than the trained model; the first is row {int(flipped.argmax())}"
                )
        return gap


def _manifest(contract: Contract) -> bytes:
    """Return the manifest as torch-model-archiver writes it, without its clock."""
    config = ModelArchiverConfig(
        model_name=contract.model,
        version=contract.version,
        handler="service.py:handle",
        serialized_file="model.onnx",
        config_file="model-config.yaml",
        runtime=RuntimeType.PYTHON.value,
        export_path=".",
    )
    ModelExportUtils.validate_inputs(contract.model, ".")
    manifest = json.loads(ModelExportUtils.generate_manifest_json(config))
    del manifest["createdOn"]
    return canonical_json(manifest)


def _code(handler: str) -> dict[str, bytes]:
    """Return the serving code: the handler's module and everything of ours that it imports, and TorchServe's entry."""
    module, _, name = handler.partition(":")
    files: dict[str, bytes] = {}
    todo = [module]
    while todo:
        path = _source(todo.pop())
        if path is None or (member := path.relative_to(ROOT).as_posix()) in files:
            continue
        files[member] = path.read_bytes()
        todo += [parent for parent in _imports(files[member]) if parent.split(".")[0] in ROOMS]
        todo += [".".join(Path(member).parts[:depth]) for depth in range(1, len(Path(member).parts))]
    files["service.py"] = SERVICE.format(module=module, name=name, rooms=ROOMS).encode()
    return files


def _source(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(source: bytes) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from handlers import wire" names a module; "from handlers.wire import JSON" names one already.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _packages() -> dict[str, str]:
    return {name: importlib.metadata.version(name).partition("+")[0] for name in PACKAGES}

"""A release to a `.mar`: measure the gap, certify, collect the code that serves, pack, and prove the result.

The bytes of an archive depend on its release and on this source tree alone: no clock, no path, no order of a
directory enters them. Built twice, it has the same SHA-256.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from model_archiver.manifest_components.manifest import RuntimeType
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_packaging_utils import ModelExportUtils
from numpy.typing import NDArray

from archives.archive import open_archive
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
from archives.keys import Key
from archives.reference import check_reference
from archives.signatures import sign, signature_path
from archives.store import pack, write_readable
from handlers.engine import OnnxEngine
from marina.settings import ROOT
from training.packaging.importance import permutation_importance
from training.packaging.model_card import IntendedUse, write_card
from training.packaging.sbom import software_bill

TOLERANCE = 1e-4
"""Largest gap on a network's logits between the trained model and what serves (absolute)."""

TABULAR_TOLERANCE = 1e-5
"""The same for what trees and linear models answer."""

ROOMS = ("archives", "handlers", "models")
"""The packages whose code travels in an archive."""

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
    cases : tuple of Case
        Golden inputs and the TRAINED model's answers to them, computed before any export.
    example : mapping
        A request body that the model answers, as a client would send it in JSON.
    reference : mapping of str to ndarray
        What later traffic is held against, of held-out rows: the names of the contract's summary, with `columns_of`;
        ``confidence`` of the answer, ``predicted`` and true ``label`` as places among the labels, where there are any.
    provenance : mapping
        Git commit, data manifest hash, MLflow run, parameters, metrics.
    intended_use : IntendedUse
        What the model is for, and what it is not for: a part of its card.
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
        The permission to serve in bfloat16, from `training.packaging.bfloat16`.
    """

    contract: Contract
    handler: str
    onnx: bytes
    cases: tuple[Case, ...]
    example: Mapping[str, Any]
    reference: Arrays
    provenance: Mapping[str, Any]
    intended_use: IntendedUse
    serving: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    evaluation: tuple[Case, ...] = ()
    decide: Decide = largest
    family_data: Mapping[str, Any] | None = None
    reduced: Reduced | None = None


def configure_serving(pass_limit: int, workers: int = 1, batch: int = 32) -> dict[str, Any]:
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
        "handler": {"pass_limit": pass_limit},
    }


def columns_of(names: Sequence[str], summary: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return a summary [rows, names] as `reference.npz` has it: an array of one number per row under each name."""
    return {name: np.ascontiguousarray(column) for name, column in zip(names, summary.T, strict=True)}


@dataclass(frozen=True)
class Built:
    """A built archive: where it is, its SHA-256, and the gap its certificate states."""

    path: Path
    sha256: str
    gap: float


def build(release: Release, store: Path, key: Key | None = None) -> Built:
    """Build `<model>-<version>.mar` in the store, and sign it where there is a key to do so.

    Raises
    ------
    CertificateError
        If a graph answers a golden input differently from the trained model, beyond the release's tolerance, or
        decides a held-out input otherwise.
    ArchiveError
        If the reference is not what the contract's summary says, or the linter refuses the result.
    """
    contract = release.contract
    if not release.cases:
        raise CertificateError(f"{contract.model}: an archive needs at least one golden input")
    check_reference(contract.summary, release.reference)
    gap, counts = _measure(release)
    importance = {"importance": counts} if counts else {}
    members = {
        "model.onnx": release.onnx,
        **_code(release.handler),
        "MAR-INF/MANIFEST.json": _manifest(contract),
        "certificate.npz": write_cases(release.cases),
        "contract.json": write_contract(contract),
        "example.json": json.dumps(release.example, separators=(",", ":"), allow_nan=False).encode(),
        "model-card.md": write_card(contract, release.provenance, release.intended_use, release.example),
        "model-config.yaml": yaml.safe_dump(dict(release.serving), sort_keys=True).encode(),
        "provenance.json": canonical_json({**importance, **release.provenance, **_surroundings()}),
        "reference.npz": write_npz(release.reference),
        "sbom.json": software_bill(),
    }
    if release.family_data is not None:
        members["family.json"] = canonical_json(release.family_data)
    decided = sum(len(release.decide(case.outputs)) for case in release.evaluation)
    members["certificate.json"] = write_certificate(
        members, release.cases, release.tolerance, gap, decided, release.reduced
    )
    path = store / f"{contract.model}-{contract.version}.mar"
    signature_path(path).unlink(missing_ok=True)  # of what was built before
    sha256 = pack(members, path)
    if key is not None:
        write_readable(signature_path(path), sign(open_archive(path), key))
    return Built(path, sha256, gap.value)


def _measure(release: Release) -> tuple[Gap, dict[str, float]]:
    """Replay the golden inputs through the exported graph, in the engine that will serve it; compare its decisions.

    Returned is the gap, and how much its answers hang on each feature.
    """
    with tempfile.TemporaryDirectory(prefix="marina-certify-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(release.onnx)
        run = OnnxEngine(path, release.contract, None).run
        gap = check_replay(release.cases, run, release.tolerance)
        for case in release.evaluation:
            flipped = release.decide(run(case.inputs)) != release.decide(case.outputs)
            if flips := int(np.count_nonzero(flipped)):
                raise CertificateError(
                    f"{release.contract.model}: the graph decides {flips} of {flipped.size} held-out inputs "
                    f"('{case.name}') differently from the trained model; the first is row {int(flipped.argmax())}"
                )
        return gap, permutation_importance(release.contract, release.evaluation, run)


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


@functools.lru_cache(maxsize=256)  # of one training's archives most have the same code
def _imports(source: bytes) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from handlers import decoding" names a module; "from handlers.decoding import JSON" names one already.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def _surroundings() -> dict[str, Any]:
    """Return what it was built with: versions of the packages that matter, and the hash of the list of all."""
    return {
        "packages": {name: importlib.metadata.version(name).partition("+")[0] for name in PACKAGES},
        "constraints_sha256": hashlib.sha256((ROOT / "constraints.txt").read_bytes()).hexdigest(),
    }

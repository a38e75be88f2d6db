"""Tiny archives around a handler's source code, and altered copies of real ones: for tests and benchmarks."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from archives.archive import open_archive
from archives.certificate import write_npz
from archives.contract import FORMAT, Contract, Tensor, canonical_json, parse_contract, write_contract
from archives.serving import BOUNDS
from archives.store import pack
from marina.settings import ROOT

EMPTY = '''
from handlers.torchserve_protocol import read_ahead


class Empty:
    """The floor: what the stack costs when the model costs nothing."""

    def initialize(self, context):
        read_ahead()

    def handle(self, data, context):
        return [b"{}"] * len(data)
'''


def build_stub(
    folder: Path,
    model: str = "empty",
    version: str = "1.0",
    code: str = EMPTY,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Build a tiny archive around a handler's source code: the linter passes it, though it proves nothing.

    What `config` says besides TorchServe's settings is the handler's own.
    """
    tensors = (Tensor("x", "float32", ("batch",)),)
    manifest = {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": model,
            "modelVersion": version,
            "handler": "service.py",
            "configFile": "model-config.yaml",
        },
    }
    own = {name: value for name, value in (config or {}).items() if name not in BOUNDS}
    torchserve = {name: value for name, value in (config or {}).items() if name in BOUNDS}
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 8, "responseTimeout": 120, **torchserve, "handler": own}
    no_arrays = write_npz({})
    members = {
        "MAR-INF/MANIFEST.json": json.dumps({"createdOn": "01/01/2026 00:00:00"} | manifest).encode(),
        "service.py": code.encode(),
        **{name: (ROOT / name).read_bytes() for name in ("handlers/__init__.py", "handlers/torchserve_protocol.py")},
        "model-config.yaml": json.dumps(settings).encode(),  # JSON is YAML
        "contract.json": write_contract(Contract(model, version, "stub", "classification", tensors, tensors)),
        "certificate.npz": no_arrays,
        "reference.npz": no_arrays,
        "model.onnx": b"",
        **dict.fromkeys(("example.json", "provenance.json", "sbom.json"), b"{}"),
    }
    return _certify(members, {"format": FORMAT}, folder)


def build_variant(source: Path, folder: Path, changes: Mapping[str, bytes]) -> Path:
    """Copy an archive with some members replaced, and certify them; it is named for what its contract says then."""
    opened = open_archive(source)
    members = {name: bytes(content) for name, content in opened.members.items()} | dict(changes)
    certificate = opened.json("certificate.json")
    del members["certificate.json"]
    return _certify(members, certificate, folder)


def _certify(members: Mapping[str, bytes], certificate: Mapping[str, object], folder: Path) -> Path:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    contract = parse_contract(json.loads(members["contract.json"]))
    path = folder / f"{contract.model}-{contract.version}.mar"
    pack({**members, "certificate.json": canonical_json({**certificate, "sha256": hashes})}, path)
    return path

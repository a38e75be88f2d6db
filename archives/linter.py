"""Look before loading: refuse an archive by its bytes, without importing or unpickling anything in it.

Inspecting and loading stay apart on purpose: TorchServe unpacks and imports whatever it is given, so everything
that can be known about an archive must be known before it reaches the model store. What is not listed here as allowed
is refused. `archives.archive` opens archives; this looks at what it has read.
"""

import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from archives.code_lint import lint_code
from archives.container import ContainerError, unzip
from archives.contract import READABLE, ArchiveError, parse_contract
from archives.serving import read_serving

MAX_MEMBERS = 256
MAX_ARRAYS = 4096
"""Most arrays of one `.npz`."""
MAX_JSON_BYTES = 64 * 1024**2
MAX_DEPTH = 64
MAX_AXES = 8

MANIFEST, SERVING = "MAR-INF/MANIFEST.json", "model-config.yaml"

REQUIRED = frozenset(
    {
        MANIFEST,
        "certificate.json",
        "certificate.npz",
        "contract.json",
        "example.json",
        SERVING,
        "model.onnx",
        "provenance.json",
        "reference.npz",
        "sbom.json",
        "service.py",
    }
)
CARD = "model-card.md"
MAX_CARD_BYTES = 1024**2

OPTIONAL = frozenset({"family.json", CARD})
CODE = re.compile(r"(archives|handlers|models)(/[a-z0-9_]+){1,2}\.py")
"""The code an archive brings: the packages that run inside a worker, nothing else."""

ENTRY_POINTS = frozenset({"service.py", "service.py:handle"})
"""What TorchServe may be configured to call."""

PLAIN = "biufU"
"""Kinds of array elements: booleans, numbers, text."""

Members = Mapping[str, memoryview]


def lint(content: bytes) -> list[str]:
    """Return everything that is wrong with an archive; empty when it may be deployed.

    Parameters
    ----------
    content
        The whole `.mar` file.

    Returns
    -------
    list of str
        One sentence per finding, naming the member.
    """
    try:
        members = unzip(content, MAX_MEMBERS)
    except ContainerError as error:
        return error.findings
    # Contents are looked at only when all names are known ones.
    return list(_lint_names(set(members))) or [*_lint_contents(members), *_lint_hashes(members)]


def _lint_names(names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        if PurePosixPath(name).is_absolute() or ".." in name.split("/") or "\\" in name or ":" in name:
            yield f"{name}: path escapes the archive"
        elif name.endswith(".pt2"):
            yield f"{name}: torch.export programs are not served: loading one may unpickle. Build the archive again"
        elif name not in REQUIRED | OPTIONAL and not CODE.fullmatch(name):
            yield f"{name}: unknown member; an archive holds only what the contract lists"
    for name in sorted(REQUIRED - names):
        yield f"{name}: missing"


def _lint_contents(members: Members) -> Iterator[str]:
    for name, content in members.items():
        try:
            if _looks_pickled(content):
                raise ArchiveError("is a pickle")
            if name.endswith(".npz"):
                _check_npz(content)
            elif name.endswith(".json"):
                _check_json(name, content)
            elif name == SERVING:
                read_serving(content)
            elif name == CARD:
                read_text(content)
            elif name.endswith(".py"):
                yield from (f"{name}: {found}" for found in lint_code(bytes(content)))
        except ArchiveError as error:
            yield f"{name}: {error}"
    yield from _lint_identity(members)


def _lint_identity(members: Members) -> Iterator[str]:
    """Compare who the manifest, which TorchServe goes by, says it is with who the contract says it is."""
    try:
        model, contract = parse_json(members[MANIFEST])["model"], parse_json(members["contract.json"])
        says, declared = (model["modelName"], model["modelVersion"]), (contract["model"], contract["version"])
    except (ArchiveError, KeyError, TypeError):
        return  # said already
    if says != declared:
        yield f"{MANIFEST}: is of {says[0]} {says[1]}, contract.json of {declared[0]} {declared[1]}"


def _looks_pickled(content: memoryview) -> bool:
    # Protocol 2 and later open with 0x80 and the protocol's number; older ones end in '.' after an opcode stream.
    return len(content) > 2 and content[0] == 0x80 and content[1] <= 5 and bytes(content[-8:]).rstrip().endswith(b".")


def read_text(content: memoryview) -> str:
    """Return a text of at most `MAX_CARD_BYTES`, in UTF-8.

    Raises
    ------
    ArchiveError
        When it is anything else.
    """
    if len(content) > MAX_CARD_BYTES:
        raise ArchiveError(f"{len(content):,} bytes of text, at most {MAX_CARD_BYTES:,} are allowed")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"is not UTF-8: {error}") from error


def parse_json(content: bytes | memoryview) -> dict[str, Any]:
    """Read a JSON object in which no key appears twice, and which is not too deep or too large to be looked at.

    Raises
    ------
    ArchiveError
        When it is anything else.
    """
    if len(content) > MAX_JSON_BYTES:
        raise ArchiveError(f"{len(content):,} bytes of JSON, at most {MAX_JSON_BYTES:,} are allowed")
    try:
        value = json.loads(str(content, "utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ArchiveError(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArchiveError(f"expected a JSON object, found {type(value).__name__}")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [child for one in inner for child in one if isinstance(child, dict | list)]
    if level:
        raise ArchiveError(f"nested more than {MAX_DEPTH} deep")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears more than once")
    return found


def _check_json(name: str, content: memoryview) -> None:
    value = parse_json(content)
    if name == MANIFEST:
        _check_manifest(value)
    elif name == "contract.json":
        parse_contract(value)
    elif name == "certificate.json":
        if value.get("format") not in READABLE:
            raise ArchiveError(f"format {value.get('format')!r}, this code reads {sorted(READABLE)}")
        hashes = value.get("sha256")
        if not isinstance(hashes, dict) or not all(isinstance(one, str) for one in hashes.values()):
            raise ArchiveError("names no hashes")


def _check_manifest(value: dict[str, Any]) -> None:
    model = value.get("model")
    if not isinstance(model, dict) or value.get("runtime") != "python":
        raise ArchiveError("expected a manifest of torch-model-archiver, with a model and the runtime python")
    known = {"archiverVersion", "createdOn", "model", "runtime"}
    parts = {"configFile", "handler", "modelName", "modelVersion", "serializedFile"}
    if unknown := sorted({*value} - known | {*model} - parts):
        raise ArchiveError(f"{unknown[0]}: unknown; TorchServe may act on it")
    if not all(isinstance(one, str) for one in ({**value, "model": ""} | model).values()):
        raise ArchiveError("expected text under each name")
    if not (model.get("modelName") and model.get("modelVersion")):
        raise ArchiveError("names no model, or no version")
    if model.get("handler") not in ENTRY_POINTS or model.get("configFile") != SERVING:
        raise ArchiveError(f"expected the handler service.py:handle and the settings {SERVING}")
    if model.get("serializedFile", "model.onnx") != "model.onnx":
        raise ArchiveError("expected model.onnx as the serialised file")


def _check_npz(content: memoryview) -> None:
    try:
        arrays = unzip(content, MAX_ARRAYS)
    except ContainerError as error:
        raise ArchiveError(f"not plain arrays: {error}") from error
    for name, array in arrays.items():
        try:
            _check_npy(array)
        except Exception as error:  # whatever numpy makes of a header that is not one
            raise ArchiveError(f"not plain arrays: {name}: {error}") from error


def _check_npy(array: memoryview) -> None:
    """Check by its header that an array is as large as it lies there, and holds no objects: nothing is read yet."""
    start = io.BytesIO(array[:16_384])
    if np.lib.format.read_magic(start) != (1, 0):
        raise ValueError("expected .npy of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    if dtype.kind not in PLAIN:
        raise ValueError(f"elements of type {dtype}")
    has = len(array) - start.tell()
    if len(shape) > MAX_AXES or math.prod(shape) * dtype.itemsize != has:
        raise ValueError(f"announces {' x '.join(map(str, shape))} of {dtype}, and has {has} bytes")


def _lint_hashes(members: Members) -> Iterator[str]:
    try:
        certified: dict[str, str] = parse_json(members["certificate.json"])["sha256"]
        names = sorted(set(members) - {"certificate.json"} | set(certified))
    except (ArchiveError, KeyError, TypeError):
        return  # said already
    for name in names:
        if name not in members:
            yield f"{name}: certified but missing"
        elif name not in certified:
            yield f"{name}: not certified"
        elif hashlib.sha256(members[name]).hexdigest() != certified[name]:
            yield f"{name}: altered after certification (its SHA-256 is not the certified one)"

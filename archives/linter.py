"""Look before loading: refuse an archive by its bytes, without importing or unpickling anything in it.

Inspecting and loading stay apart on purpose: TorchServe unpacks and imports whatever it is given, so everything
that can be known about an archive must be known before it reaches the model store.
"""

import ast
import hashlib
import io
import json
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from archives.contract import READABLE, ArchiveError

MAX_BYTES = 2 * 1024**3
"""Largest sum of the members' unpacked sizes."""

MAX_MEMBERS = 256

REQUIRED = frozenset(
    {
        "MAR-INF/MANIFEST.json",
        "certificate.json",
        "certificate.npz",
        "contract.json",
        "example.json",
        "model-config.yaml",
        "model.onnx",
        "provenance.json",
        "reference.npz",
        "sbom.json",
        "service.py",
    }
)
OPTIONAL = frozenset({"family.json", "model.pt2"})
CODE = re.compile(r"(archives|handlers|models)(/[a-z0-9_]+){1,2}\.py")
"""The code an archive brings: the rooms that run inside a worker, nothing else."""

UNPICKLERS = frozenset({"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})


def lint(path: Path) -> list[str]:
    """Return everything that is wrong with an archive; empty when it may be deployed.

    Parameters
    ----------
    path : Path
        A `.mar` file.

    Returns
    -------
    list of str
        One sentence per finding, naming the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            findings = list(_lint_shape(entries))
            # Contents are read only when names and sizes are sane: a bomb is refused before it is unpacked.
            if not findings:
                members = {entry.filename: archive.read(entry) for entry in entries}
                findings = [*_lint_contents(members), *_lint_hashes(members)]
    except FileNotFoundError:
        return [f"{path} does not exist"]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        return [f"{path.name} is not a readable .mar (zip) file: {error}"]
    return findings


def refuse_unclean(path: Path) -> None:
    """Raise unless `lint` finds nothing.

    Raises
    ------
    ArchiveError
        Listing every finding.
    """
    findings = lint(path)
    if findings:
        raise ArchiveError(f"{path.name} may not be deployed:\n" + "\n".join(f"  - {finding}" for finding in findings))


def _lint_shape(entries: list[zipfile.ZipInfo]) -> Iterator[str]:
    names = [entry.filename for entry in entries]
    if len(names) > MAX_MEMBERS:
        yield f"{len(names)} members, at most {MAX_MEMBERS} are allowed"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: appears more than once"
    if (size := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        yield f"unpacks to {size:,} bytes, at most {MAX_BYTES:,} are allowed"
    for entry in entries:
        name = entry.filename
        if PurePosixPath(name).is_absolute() or ".." in name.split("/") or "\\" in name or ":" in name:
            yield f"{name}: path escapes the archive"
        elif stat.S_ISLNK(entry.external_attr >> 16):
            yield f"{name}: is a symbolic link"
        elif name not in REQUIRED | OPTIONAL and not CODE.fullmatch(name):
            yield f"{name}: unknown member; an archive holds only what the contract lists"
    for name in sorted(REQUIRED - set(names)):
        yield f"{name}: missing"


def _lint_contents(members: dict[str, bytes]) -> Iterator[str]:
    for name, content in members.items():
        if _looks_pickled(content):
            yield f"{name}: is a pickle"
        elif name.endswith(".npz"):
            yield from _lint_npz(name, content)
        elif name.endswith(".pt2"):
            yield from _lint_program(name, content)
        elif name.endswith(".py"):
            yield from _lint_code(name, content)
        elif name.endswith(".json"):
            yield from _lint_json(name, content)


def _lint_json(name: str, content: bytes) -> Iterator[str]:
    try:
        value = json.loads(content)
    except ValueError as error:
        yield f"{name}: is not JSON: {error}"
        return
    if name in {"contract.json", "certificate.json"} and value.get("format") not in READABLE:
        yield f"{name}: format {value.get('format')!r}, this code reads {sorted(READABLE)}"


def _looks_pickled(content: bytes) -> bool:
    # Protocol 2 and later open with 0x80 and the protocol's number; older ones end in '.' after an opcode stream.
    return len(content) > 2 and content[0] == 0x80 and content[1] <= 5 and content.rstrip().endswith(b".")


def _lint_npz(name: str, content: bytes) -> Iterator[str]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for key in arrays.files:
                arrays[key]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        yield f"{name}: not plain arrays: {error}"


def _lint_program(name: str, content: bytes) -> Iterator[str]:
    """Check a `torch.export` program: JSON and raw weights only."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as program:
            for entry in program.infolist():
                member = program.read(entry)
                if entry.filename.endswith(".pt") and member:
                    yield f"{name}: {entry.filename} is pickled by torch.save"
                if entry.filename.endswith("_config.json") and b'"use_pickle": true' in member:
                    yield f"{name}: {entry.filename} names pickled tensors"
    except zipfile.BadZipFile as error:
        yield f"{name}: is not a torch.export program: {error}"


def _lint_code(name: str, content: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        yield f"{name}: is not Python: {error}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots = {(node.module or "").split(".")[0]}
        else:
            continue
        for root in sorted(roots & UNPICKLERS):
            yield f"{name}: line {node.lineno} imports {root}"


def _lint_hashes(members: dict[str, bytes]) -> Iterator[str]:
    try:
        certified = json.loads(members["certificate.json"])["sha256"]
    except (ValueError, KeyError, TypeError):
        yield "certificate.json: names no hashes"
        return
    for name in sorted(set(members) - {"certificate.json"} | set(certified)):
        if name not in members:
            yield f"{name}: certified but missing"
        elif name not in certified:
            yield f"{name}: not certified"
        elif hashlib.sha256(members[name]).hexdigest() != certified[name]:
            yield f"{name}: altered after certification (its SHA-256 is not the certified one)"

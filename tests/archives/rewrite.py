"""Archives altered on purpose."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archives.certificate import zip_entry


def members_of(path: Path) -> dict[str, bytes]:
    """Return an archive's members by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(members: Mapping[str, bytes], path: Path) -> Path:
    """Write a zip of members, unchecked."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zip_entry(name), content)
    return path


def rewritten(source: Path, path: Path, changes: Mapping[str, bytes]) -> Path:
    """Copy an archive with some members replaced or added, its certificate left as it was."""
    return write({**members_of(source), **changes}, path)


def recertified(source: Path, path: Path, changes: Mapping[str, bytes]) -> Path:
    """Copy an archive with some members replaced, and forge the hashes to match."""
    members = {**members_of(source), **changes}
    certificate = json.loads(members["certificate.json"])
    for name in changes:
        certificate["sha256"][name] = hashlib.sha256(members[name]).hexdigest()
    members["certificate.json"] = json.dumps(certificate).encode()
    return write(members, path)


def renamed(source: Path, model: str, version: str) -> dict[str, bytes]:
    """Return the members of an archive that say who it is, saying something else."""
    members = members_of(source)
    manifest, contract = (json.loads(members[name]) for name in ("MAR-INF/MANIFEST.json", "contract.json"))
    manifest["model"] |= {"modelName": model, "modelVersion": version}
    contract |= {"model": model, "version": version}
    return {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), "contract.json": json.dumps(contract).encode()}

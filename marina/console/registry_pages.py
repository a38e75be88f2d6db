"""Versions: what is in the store or declared, with metrics, provenance and certificate; two beside each other."""

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse

from archives.archive import Archive, open_archive
from archives.contract import ArchiveError
from archives.signatures import SignatureError
from archives.store import shelf
from marina.console.access import Number, Visitor
from marina.console.context import Context
from marina.console.errors import RefusedError
from marina.database.tables import DECLARATIONS
from marina.releases.declarations import copy_name
from marina.rollout import archive_lookup

PAGE = 100
MOST_READ = 64
LONGEST = 200


class Shelf:
    """Reads archives, each once for as long as its file stays the same."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: OrderedDict[tuple[str, float, int], dict[str, Any]] = OrderedDict()

    def versions(self, connection: sa.Connection) -> list[dict[str, Any]]:
        """Return every version of the store or the declarations, by model, the newest first."""
        stored, _ = shelf(self._context.settings.archive_store)
        found: dict[tuple[str, str], dict[str, Any]] = {
            (one.model, one.version): {"model": one.model, "version": one.version, "weight": None, "order": one.order}
            for one in stored
        }
        for row in connection.execute(sa.select(DECLARATIONS)):
            blank = {"model": row.model, "version": row.version, "order": (0,)}
            found.setdefault((row.model, row.version), blank)["weight"] = row.weight
        return sorted(sorted(found.values(), key=lambda one: one["order"], reverse=True), key=lambda one: one["model"])

    def describe(self, connection: sa.Connection, model: str, version: str) -> dict[str, Any]:
        """Return what an archive says of itself.

        Raises
        ------
        RefusedError
            When there is none, or it cannot be read.
        """
        known = {(one["model"], one["version"]) for one in self.versions(connection)}
        if (model, version) not in known:  # nothing that was typed becomes a path
            raise RefusedError(404, "no_version", f"There is no {model[:64]} {version[:64]} in the store.")
        settings = self._context.settings
        of = (DECLARATIONS.c.model == model) & (DECLARATIONS.c.version == version)
        sha256 = connection.execute(sa.select(DECLARATIONS.c.sha256).where(of)).scalar()
        copies = [settings.archive_store / f"{model}-{version}.mar"]
        if sha256:
            copies.insert(0, settings.state_dir / "declared" / copy_name(model, version, sha256))
        path = next((one for one in copies if one.is_file()), None)
        if path is None:
            raise RefusedError(404, "no_archive", f"The archive of {model} {version} is on another server.")
        seen = os.stat(path)
        key = str(path), seen.st_mtime, seen.st_size
        if key not in self._read:
            try:
                self._read[key] = self._summary(open_archive(path))
            except (ArchiveError, OSError) as error:
                raise RefusedError(409, "unreadable", f"{model} {version} cannot be read: {error}") from error
            while len(self._read) > MOST_READ:
                self._read.popitem(last=False)
        return self._read[key]

    def _summary(self, archive: Archive) -> dict[str, Any]:
        try:
            signer = archive_lookup.trust(self._context.settings).signer(archive) or "no one"
        except SignatureError as error:
            signer = str(error)
        parts = {
            name: archive.json(f"{name}.json") if f"{name}.json" in archive.members else {}
            for name in ("contract", "provenance", "certificate")
        }
        sbom = [name for name in archive.members if "sbom" in name.lower() or "cdx" in name.lower()]
        certificate = parts["certificate"]
        return {
            "sha256": archive.sha256,
            "size": archive.size,
            "signer": signer,
            "members": {name: len(content) for name, content in sorted(archive.members.items())},
            "contract": _flat(parts["contract"]),
            "metrics": _flat(parts["provenance"].get("metrics", {})),
            "provenance": _flat({key: value for key, value in parts["provenance"].items() if key != "metrics"}),
            "certificate": _flat({key: value for key, value in certificate.items() if key not in ("sha256", "cases")})
            | {"golden inputs": str(len(certificate.get("cases", ())))},
            "sbom": sbom,
        }


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    kept = Shelf(context)

    @pages.get("/registry")
    def listing(
        request: Request, visitor: Annotated[Visitor, viewer], left: str = "", right: str = "", after: Number = 0
    ) -> HTMLResponse:
        with context.database.reading() as connection:
            found = kept.versions(connection)
            sides = [kept.describe(connection, *_named(one)) for one in (left, right)] if left and right else []
        return context.pages.page(
            request, "registry.html", visitor, versions=found[after : after + PAGE], left=left, right=right,
            differences=compare(*sides) if sides else None, more=after + PAGE if len(found) > after + PAGE else None,
        )  # fmt: skip

    @pages.get("/registry/{model}/{version}")
    def show(request: Request, visitor: Annotated[Visitor, viewer], model: str, version: str) -> HTMLResponse:
        with context.database.reading() as connection:
            found = kept.describe(connection, model.replace("\0", ""), version.replace("\0", ""))
        return context.pages.page(request, "version.html", visitor, model=model, version=version, found=found)

    return pages


def compare(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return what two archives say differently: part, name, and what each says."""
    found = [
        ("archive", "sha256", left["sha256"], right["sha256"]),
        ("archive", "signer", left["signer"], right["signer"]),
    ]
    for part in ("metrics", "contract", "provenance", "certificate"):
        for name in sorted(left[part].keys() | right[part].keys()):
            found.append((part, name, left[part].get(name, "-"), right[part].get(name, "-")))
    return [one for one in found if one[2] != one[3]]


def _named(text: str) -> tuple[str, str]:
    model, _, version = text.replace("\0", "").partition(":")
    return model, version


def _flat(values: Any, prefix: str = "") -> dict[str, str]:
    """Return nested values by their dotted names, as text."""
    if not isinstance(values, dict):
        text = values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)
        return {prefix or "value": text if len(text) <= LONGEST else text[:LONGEST] + "…"}
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found

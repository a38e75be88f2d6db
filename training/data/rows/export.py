"""A family's visible rows as the file, or folder of files, that its training reads; with manifest and ``.dvc`` file."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import RAW_RELEASES, RAW_ROWS
from training.data import manifest
from training.data.rows.encoding import decode
from training.data.rows.loader import ReleaseError, checked_week, hash_of
from training.data.rows.source import source as source_of
from training.data.rows.verification import Stored

ENDING: Final = ".parquet"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    family, week
        Whose rows, and the last week that is in them.
    path, manifest, dvc
        The file or folder, and the two files beside it.
    rows
        How many.
    sha256
        Of the manifest: what a training run calls its data by.
    """

    family: str
    week: str
    path: Path
    manifest: Path
    dvc: Path
    rows: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}


def export(database: Database, family: str, out: Path, week: str | None = None) -> Exported:
    """Write what is visible, or was in an earlier week; equal rows make equal bytes.

    Parameters
    ----------
    database
        With its tables.
    family
        Whose rows.
    out
        The file, as parquet; of a family with several kinds of tables (market) the folder. What is there is replaced
        once all is written.
    week
        The last week whose release is in it; None: the latest.

    Raises
    ------
    ReleaseError
        If nothing is visible, or a release is not what it was.
    training.data.rows.source.UnknownSourceError
        If the family keeps no rows.
    """
    source = source_of(family)
    until = checked_week(week) if week else "9999-W99"
    with database.reading() as connection:
        releases = _releases(connection, family, until)
        rows = _rows(connection, family, until)
    if not releases:
        raise ReleaseError(
            f"{family}: nothing is visible yet; release some: python scripts/load_data.py release --family {family}"
        )
    for name, (count, sha256) in releases.items():
        if len(rows.get(name, [])) != count or hash_of(rows[name]) != sha256:
            raise ReleaseError(f"{family}: the rows of {name} are not those that were released; restore a backup")
    every = sorted((row for mine in rows.values() for row in mine), key=lambda row: (row.kind, row.moment, row.key))
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as held:
        made = Path(held) / out.name
        if len(source.kinds) > 1:
            made.mkdir()
        files = []
        for kind, columns in source.kinds.items():
            if contents := [row.content for row in every if row.kind == kind]:
                files.append(made / f"{kind}{ENDING}" if made.is_dir() else made)
                decode(contents, columns).to_parquet(files[-1], index=False)
        data = manifest.of_files(files, made)
        if made.is_dir() and out.is_dir():
            shutil.rmtree(out)
        os.replace(made, out)
    listing, dvc = (out.with_name(f"{out.name}{ending}") for ending in (manifest.LISTING, ".dvc"))
    listing.write_text(data.to_json())
    dvc.write_text(data.dvc_file())
    return Exported(family, max(releases), out, listing, dvc, len(every), data.sha256)


@dataclass(frozen=True)
class _Placed(Stored):
    moment: float


def _releases(connection: sa.Connection, family: str, until: str) -> dict[str, tuple[int, str]]:
    chosen = sa.select(RAW_RELEASES.c.week, RAW_RELEASES.c.rows, RAW_RELEASES.c.sha256).where(
        RAW_RELEASES.c.family == family, RAW_RELEASES.c.week <= until
    )
    return {week: (rows, sha256) for week, rows, sha256 in connection.execute(chosen)}


def _rows(connection: sa.Connection, family: str, until: str) -> dict[str, list[_Placed]]:
    table = RAW_ROWS.c
    chosen = sa.select(table.week, table.key, table.kind, table.sha256, table.content, table.moment).where(
        table.family == family, table.week != "", table.week <= until
    )
    found: dict[str, list[_Placed]] = {}
    for week, *row in connection.execute(chosen):
        found.setdefault(week, []).append(_Placed(*row))
    return found

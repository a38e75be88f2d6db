"""What is there of a family's rows: imported, refused, and visible since when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_BATCHES, RAW_RELEASES, RAW_ROWS


def count_rows(connection: sa.Connection, family: str) -> tuple[int, int]:
    """Return how many rows there are, and how many are visible."""
    shown = sa.func.sum(sa.case((RAW_ROWS.c.week != "", 1), else_=0))
    chosen = sa.select(sa.func.count(), shown).select_from(RAW_ROWS).where(RAW_ROWS.c.family == family)
    imported, visible = connection.execute(chosen).one()
    return int(imported), int(visible or 0)


def overview(database: Database, family: str) -> dict[str, Any]:
    """Return how many rows there are, how many are visible and refused, the files, and the latest releases first."""
    batch, release = RAW_BATCHES.c, RAW_RELEASES.c
    with database.reading() as connection:
        imported, visible = count_rows(connection, family)
        files = connection.execute(
            sa.select(batch.source, batch.state, batch.rows, batch.added, batch.repeated, batch.bad)
            .where(batch.family == family)
            .order_by(batch.imported_at, batch.source)
        ).mappings()
        files_found = [dict(one) for one in files]
        reports = connection.execute(
            sa.select(release.report).where(release.family == family).order_by(release.week.desc())
        ).scalars()
        releases = [json.loads(report) for report in reports]
    return {
        "family": family,
        "imported": imported,
        "visible": visible,
        "bad": sum(one["bad"] for one in files_found),
        "files": files_found,
        "releases": releases,
    }


def bad_rows(database: Database, family: str, most: int, batches: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return what was refused, the latest first, as source, row (None: the whole file), kind and reason.

    Parameters
    ----------
    database
        With its tables.
    family
        Whose rows.
    most
        How many at most.
    batches
        Of which files, by the hash of their bytes; None: of all.
    """
    bad = BAD_ROWS.c
    chosen = sa.select(bad.source, bad.row, bad.kind, bad.reason).where(bad.family == family)
    if batches is not None:
        chosen = chosen.where(bad.batch.in_(batches))
    ordered = chosen.order_by(bad.imported_at.desc(), bad.source, bad.number).limit(most)
    with database.reading() as connection:
        return [dict(one) for one in connection.execute(ordered).mappings()]

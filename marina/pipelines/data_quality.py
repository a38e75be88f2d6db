"""How good a family's rows are, as one number in [0, 1] of four that are each a share.

The score is their mean: of what was imported (table `raw_batches`) and is there (`raw_rows`)

- validity: rows that were accepted, of those that were read (accepted, repeated or bad);
- uniqueness: rows that were not repeated, of those that were accepted or repeated;
- completeness: fields that have a value, of all fields of a sample of rows;
- freshness: 1 for an import in the last 7 days, less by a half for each further 4 weeks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import sqlalchemy as sa

from marina.database.raw_tables import RAW_BATCHES, RAW_RELEASES, RAW_ROWS

SAMPLE = 5_000
"""Rows whose fields are looked at: those of the smallest keys, which are hashes, so as at random."""

FRESH_S, HALF_S = 7 * 86_400.0, 28 * 86_400.0


@dataclass(frozen=True)
class DataQuality:
    """Of one family: the four shares, and how many rows there are and may be trained on."""

    family: str
    validity: float
    uniqueness: float
    completeness: float
    freshness: float
    rows: int
    visible: int

    @property
    def score(self) -> float:
        """The mean of the four."""
        return fmean((self.validity, self.uniqueness, self.completeness, self.freshness))


def read_quality(connection: sa.Connection, now: float) -> list[DataQuality]:
    """Compute it for each family that has imported rows; `now` is in seconds since 1970."""
    batch = RAW_BATCHES.c
    sums = [sa.func.sum(batch[name]).label(name) for name in ("added", "repeated", "bad")]
    asked = sa.select(batch.family, *sums, sa.func.max(batch.imported_at).label("last")).group_by(batch.family)
    found = []
    for row in connection.execute(asked.order_by(batch.family)).all():
        added, repeated, bad = (int(value or 0) for value in (row.added, row.repeated, row.bad))
        read, accepted = added + repeated + bad, added + repeated
        here = sa.select(sa.func.count()).select_from(RAW_ROWS).where(RAW_ROWS.c.family == row.family)
        released = RAW_RELEASES.c
        visible = sa.select(sa.func.max(released.visible)).where(released.family == row.family)
        found.append(
            DataQuality(
                row.family,
                accepted / read if read else 0.0,
                added / accepted if accepted else 0.0,
                _completeness(connection, row.family),
                0.5 ** (max(0.0, now - row.last - FRESH_S) / HALF_S),
                int(connection.execute(here).scalar_one()),
                int(connection.execute(visible).scalar() or 0),
            )
        )
    return found


def _completeness(connection: sa.Connection, family: str) -> float:
    row = RAW_ROWS.c
    asked = sa.select(row.content).where(row.family == family).order_by(row.key).limit(SAMPLE)
    filled = fields = 0
    for (content,) in connection.execute(asked):
        values = _values(json.loads(content))
        fields += len(values)
        filled += sum(value not in (None, "") for value in values)
    return filled / fields if fields else 0.0


def _values(content: Any) -> list[Any]:
    return list(content.values()) if isinstance(content, dict) else list(content)

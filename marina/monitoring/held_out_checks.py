"""How live versions answer held-out rows, asked again as rows are added: drift that needs no feedback to be seen."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.loop_tables import HELD_OUT_CHECKS

FRESH_S = 8 * 86_400.0
"""Older checks say nothing of today; the weekly run adds rows."""


@dataclass(frozen=True)
class HeldOutCheck:
    """A version's answers to held-out rows.

    Attributes
    ----------
    time
        Seconds since 1970.
    data
        Hash of the rows' manifest.
    rows, refused
        Rows that were asked about, and how many of them the version refused.
    accuracy, low, high
        The share of right answers, and its 95 % interval over groups of rows; 0 and 1 where there are too few groups.
    """

    time: float
    data: str
    rows: int
    refused: int
    accuracy: float
    low: float
    high: float

    def effect(self, released: float | None) -> float | None:
        """Return the share of right answers lost since the release; 0 where the interval does not exclude none."""
        if released is None:
            return None
        return max(0.0, released - self.accuracy) if self.high < released else 0.0

    def describe(self, released: float | None) -> str:
        """Say the same to people."""
        now = f"{self.rows - self.refused:,} of {self.rows:,} held-out rows answered now: accuracy {self.accuracy:.3f} "
        return f"{now}({self.low:.3f} to {self.high:.3f})" + (f", {released:.3f} at release" if released else "")


def record(connection: sa.Connection, model: str, version: str, check: HeldOutCheck) -> None:
    """Keep a check."""
    connection.execute(sa.insert(HELD_OUT_CHECKS), {"model": model, "version": version, **vars(check)})


def newest(connection: sa.Connection, model: str, version: str, now: float) -> HeldOutCheck | None:
    """Return a version's last check of the last eight days; None where there is none."""
    table = HELD_OUT_CHECKS.c
    mine = (table.model == model, table.version == version, table.time > now - FRESH_S, table.time <= now)
    row = connection.execute(sa.select(HELD_OUT_CHECKS).where(*mine).order_by(table.time.desc()).limit(1)).first()
    return None if row is None else HeldOutCheck(row.time, row.data, row.rows, row.refused, *row[-3:])

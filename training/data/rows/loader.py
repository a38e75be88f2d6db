"""Each week some more of the imported rows become visible to training: verified, logged, and once a week.

A family's first release makes a share of what was imported visible (``MARINA_LOAD_FIRST_SHARE``); each week's after it
lets what is visible grow by another (``MARINA_LOAD_SHARE``), until all is. Rows that have a time come in its order. A
release is one transaction: it is there as a whole, or not at all, and a week that was released stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.raw_tables import RAW_RELEASES, RAW_ROWS
from training.data.rows import verification
from training.data.rows.overview import count_rows
from training.data.rows.source import source as source_of
from training.data.rows.verification import Stored

COMPARED: Final = 20_000
"""Visible rows that a release's distribution is compared with: those of the smallest keys, which are as at random."""

PORTION: Final = 500
"""Keys of one statement."""

WEEK: Final = re.compile(r"\d{4}-W\d{2}")


class ReleaseError(MarinaError):
    """Rows cannot be made visible; the message says why, and what to do."""


@dataclass(frozen=True)
class Release:
    """What a week made visible.

    Attributes
    ----------
    family, week
        Whose, and which ISO week, such as ``2026-W48``.
    state
        "released"; "known", where the week had been; "nothing left", where there are no more rows.
    rows, visible, imported
        How many became visible, how many are since, and how many there are in all.
    sha256
        Of the new rows' keys and hashes, in order.
    shifts
        By column, how far the new rows are from those before, where that is notable.
    """

    family: str
    week: str
    state: str
    rows: int
    visible: int
    imported: int
    sha256: str
    shifts: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def week_of(now: float) -> str:
    """Return the ISO week of a time in seconds since 1970, UTC.

    Examples
    --------
    >>> week_of(1798761600.0)  # the first of January 2027 is a Friday
    '2026-W53'
    """
    year, week, _ = datetime.fromtimestamp(now, UTC).isocalendar()
    return f"{year}-W{week:02d}"


def release(
    database: Database, family: str, share: float, first_share: float, week: str | None = None, now: float | None = None
) -> Release:
    """Make the next rows visible.

    Parameters
    ----------
    database
        With its tables.
    family
        Whose rows.
    share
        By how much the visible rows grow, as a share of them; at least one row comes.
    first_share
        Which share of the imported rows becomes visible first.
    week
        For which ISO week; None: for this one.
    now
        Seconds since 1970; None: now.

    Raises
    ------
    ReleaseError
        If nothing was imported, a later week has been released, or rows are not what they were when they were imported.
    training.data.rows.source.UnknownSourceError
        If the family keeps no rows.
    """
    source, when = source_of(family), time.time() if now is None else now
    week = week_of(when) if week is None else checked_week(week)
    with database.reading() as connection:  # verified before others have to wait for the write
        if known := _released(connection, family, week):
            return known
        last = connection.execute(
            sa.select(sa.func.max(RAW_RELEASES.c.week)).where(RAW_RELEASES.c.family == family)
        ).scalar_one()
        if last is not None and last > week:
            raise ReleaseError(f"{family}: {week} cannot be released after {last}; weeks are released in their order")
        imported, visible = count_rows(connection, family)
        if not imported:
            raise ReleaseError(
                f"{family}: nothing was imported yet; import a file first: "
                f"python scripts/load_data.py import --family {family} PATH"
            )
        wanted = math.ceil(visible * share - 1e-9) if visible else math.ceil(imported * first_share - 1e-9)
        new = _next(connection, family, max(1, wanted))
        before = _visible(connection, family, COMPARED)
    if wrong := verification.faults(new, source.kinds, source.may_repeat):
        shown = "; ".join(wrong[:5])
        raise ReleaseError(
            f"{family}: {len(wrong)} of {len(new)} rows cannot be released, and none was: {shown}. Restore "
            "raw_rows from a backup, or delete these rows and the files' entries in raw_batches, and import again."
        )
    done = Release(
        family, week, "released" if new else "nothing left", len(new), visible + len(new), imported, hash_of(new),
        verification.shifts(before, new, source.kinds, source.moment),
    )  # fmt: skip
    if not new:  # the week stays open for what is imported later
        return done
    with database.writing(durable=True) as connection:
        if connection.dialect.name == "postgresql":  # two loaders at once: one after the other
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(727465)"))
        if known := _released(connection, family, week):
            return known
        connection.execute(
            sa.insert(RAW_RELEASES).values(
                family=family, week=week, rows=done.rows, visible=done.visible, sha256=done.sha256,
                report=json.dumps(done.to_dict(), sort_keys=True), released_at=when,
            )
        )  # fmt: skip
        changed = _show(connection, family, week, [row.key for row in new])
        if (changed, count_rows(connection, family)[1]) != (done.rows, done.visible):
            raise ReleaseError(f"{family}: the rows changed while they were verified, and none was released; try again")
    return done


def checked_week(text: str) -> str:
    """Return an ISO week that there is.

    Raises
    ------
    ReleaseError
        If it is none.
    """
    if WEEK.fullmatch(text):
        try:
            date.fromisocalendar(int(text[:4]), int(text[6:]), 1)
        except ValueError:
            pass
        else:
            return text
    raise ReleaseError(f"{text}: expected an ISO week, such as 2026-W48")


def hash_of(rows: Sequence[Stored]) -> str:
    """Return one hash of rows, whatever their order: of each one's key and SHA-256."""
    lines = sorted(f"{row.sha256}  {row.key}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _released(connection: sa.Connection, family: str, week: str) -> Release | None:
    chosen = sa.select(RAW_RELEASES.c.report).where(RAW_RELEASES.c.family == family, RAW_RELEASES.c.week == week)
    report = connection.execute(chosen).scalar_one_or_none()
    return None if report is None else Release(**{**json.loads(report), "state": "known"})


_STORED: Final = (RAW_ROWS.c.key, RAW_ROWS.c.kind, RAW_ROWS.c.sha256, RAW_ROWS.c.content)


def _next(connection: sa.Connection, family: str, count: int) -> list[Stored]:
    chosen = sa.select(*_STORED).where(RAW_ROWS.c.family == family, RAW_ROWS.c.week == "")
    ordered = chosen.order_by(RAW_ROWS.c.moment, RAW_ROWS.c.key).limit(count)
    return [Stored(*row) for row in connection.execute(ordered)]


def _visible(connection: sa.Connection, family: str, most: int) -> list[Stored]:
    chosen = sa.select(*_STORED).where(RAW_ROWS.c.family == family, RAW_ROWS.c.week != "")
    return [Stored(*row) for row in connection.execute(chosen.order_by(RAW_ROWS.c.key).limit(most))]


def _show(connection: sa.Connection, family: str, week: str, keys: Sequence[str]) -> int:
    """Make rows visible; return how many were not before."""
    changed = 0
    for start in range(0, len(keys), PORTION):
        mine = (RAW_ROWS.c.family == family, RAW_ROWS.c.week == "", RAW_ROWS.c.key.in_(keys[start : start + PORTION]))
        changed += connection.execute(sa.update(RAW_ROWS).where(*mine).values(week=week)).rowcount
    return changed

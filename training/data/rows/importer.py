"""Files into the table of rows: each row once, the bad ones apart with file, row and reason.

A file is known by the hash of its bytes, a row by that of what names it: what is there already is not added again.
Rows are written in portions, and last of all the file's own entry with its bad rows. An import that was killed is
started again, and adds what is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_BATCHES, RAW_ROWS
from training.data.quality import BadDataError, Fault
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.data.rows.encoding import Row, encode
from training.data.rows.source import source as source_of

if TYPE_CHECKING:
    import pandas as pd

PORTION: Final = 2000
"""Rows of one transaction: other writers of an SQLite file wait some tens of milliseconds."""

LOOKED_UP: Final = 500
"""Keys of one query."""

LONGEST_REASON: Final = 1000
AHEAD_S: Final = 86_400.0
"""A day has begun somewhere on Earth before it has here."""

DONE, REFUSED = "done", "refused"

Read = Callable[[Path, TableReader], tuple[str, "pd.DataFrame", list[Fault]]]


@dataclass(frozen=True)
class Imported:
    """What happened to a file.

    Attributes
    ----------
    source
        Its name.
    batch
        SHA-256 of its bytes.
    state
        "done"; "refused", where nothing of it could be taken; "known", where it was imported before.
    rows
        How many it has, as far as it could be read: each was added, repeats another one, or is bad.
    added, repeated, bad
        How many of these; a file that is refused as a whole has one fault and no bad row.
    account
        How it was read: each column's rule, and lines around the table that are no rows.
    """

    source: str
    batch: str
    state: str
    rows: int
    added: int
    repeated: int
    bad: int
    account: str

    def to_dict(self) -> dict[str, str | int]:
        """Return it for JSON."""
        return asdict(self)


def import_path(database: Database, family: str, path: Path, style: Style, now: float | None = None) -> list[Imported]:
    """Import a file, or all tables of a folder.

    Parameters
    ----------
    database
        With its tables.
    family
        Whose rows they are.
    path
        A table, or a folder of them.
    style
        What decides where a column can be read in two ways.
    now
        Seconds since 1970; None: now.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    training.data.rows.source.UnknownSourceError
        If the family keeps no rows.
    """
    found = source_of(family)
    when = time.time() if now is None else now
    return [_import_file(database, family, file, found.read, style, when) for file in found.files(path)]


def import_synthetic(database: Database, family: str, rows: int, seed: int, now: float | None = None) -> list[Imported]:
    """Import what the family's generator makes: as many rows as asked for, or a few less, by a seed."""
    made = source_of(family).generate(rows, seed)
    when, results = time.time() if now is None else now, []
    for kind, frame in made.items():
        name = f"synthetic {kind}, seed {seed}, {rows} rows"
        batch = hashlib.sha256(f"{family} {name}".encode()).hexdigest()
        known = _known(database, family, batch)
        results.append(known or _store(database, family, batch, name, kind, frame, [], len(frame), "generated", when))
    return results


def _import_file(database: Database, family: str, file: Path, read: Read, style: Style, now: float) -> Imported:
    batch = hashlib.sha256(file.read_bytes()).hexdigest()
    if known := _known(database, family, batch):
        return known
    reader = TableReader(style)
    try:
        kind, frame, faults = read(file, reader)
    except BadDataError as error:
        refused = Imported(file.name, batch, REFUSED, *_counted(reader, error.faults), _account(reader))
        _finish(database, family, refused, error.faults, now)
        return refused
    rows = reader.accounts[0].rows if reader.accounts else len(frame) + len({fault.index for fault in faults})
    return _store(database, family, batch, file.name, kind, frame, faults, rows, _account(reader), now)


def _store(
    database: Database,
    family: str,
    batch: str,
    name: str,
    kind: str,
    frame: pd.DataFrame,
    faults: Iterable[Fault],
    count: int,
    account: str,
    now: float,
) -> Imported:
    source = source_of(family)
    all_faults = list(faults)
    rows = encode(frame, kind, source)
    rows = _past(rows, name, now, all_faults)
    rows, repeated = _agreeing(rows, name, all_faults)
    added = 0
    for start in range(0, len(rows), PORTION):
        portion = rows[start : start + PORTION]
        with database.writing() as connection:
            there = _there(connection, family, portion)
            new = [row for row in portion if row.key not in there]
            database.add_rows(
                connection,
                RAW_ROWS,
                [(family, one.key, kind, one.sha256, one.content, one.moment, batch, now, "") for one in new],
            )
        for row in portion:
            sha256, its_batch = there.get(row.key, (row.sha256, batch))
            if sha256 != row.sha256:
                detail = f"expected the row that is there of {_named(row, source.identity)}, got other values"
                all_faults.append(Fault(name, row.number, "contradicts an earlier row", detail))
            elif its_batch == batch:  # also what was added before the import was killed
                added += 1
            else:
                repeated += 1
    bad = len({fault.index for fault in all_faults} - {None})
    done = Imported(name, batch, DONE, count, added, repeated, bad, account)
    _finish(database, family, done, all_faults, now)
    return done


def _past(rows: Sequence[Row], name: str, now: float, faults: list[Fault]) -> list[Row]:
    """Return the rows that are not from the future."""
    for row in rows:
        if row.moment > now + AHEAD_S:
            when = time.strftime("%Y-%m-%d", time.gmtime(row.moment))
            faults.append(Fault(name, row.number, "in the future", f"expected a time that has been, got {when}"))
    return [row for row in rows if row.moment <= now + AHEAD_S]


def _agreeing(rows: Sequence[Row], name: str, faults: list[Fault]) -> tuple[list[Row], int]:
    """Return each row once, and how many repeat one; rows of one name that differ are all faults."""
    values: dict[str, set[str]] = {}
    for row in rows:
        values.setdefault(row.key, set()).add(row.sha256)
    once: dict[str, Row] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        if len(values[row.key]) > 1:
            detail = f"expected equal rows or one alone, got {len(values[row.key])} that differ: {row.content[:200]}"
            faults.append(Fault(name, row.number, "contradicts another row", detail))
        else:
            once.setdefault(row.key, row)
            counts[row.key] += 1
    return list(once.values()), counts.total() - len(once)


def _there(connection: sa.Connection, family: str, rows: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Return hash and batch, by key, of the rows that are in the table."""
    found: dict[str, tuple[str, str]] = {}
    keys = [row.key for row in rows]
    for start in range(0, len(keys), LOOKED_UP):
        chosen = sa.select(RAW_ROWS.c.key, RAW_ROWS.c.sha256, RAW_ROWS.c.batch).where(
            RAW_ROWS.c.family == family, RAW_ROWS.c.key.in_(keys[start : start + LOOKED_UP])
        )
        found |= {key: (sha256, batch) for key, sha256, batch in connection.execute(chosen)}
    return found


def _named(row: Row, identity: Sequence[str]) -> str:
    content = json.loads(row.content)
    return ", ".join(str(content[name]) for name in identity if name in content)


def _known(database: Database, family: str, batch: str) -> Imported | None:
    """Return what a batch was that has been imported; None where it is new, or was refused as a whole."""
    chosen = sa.select(RAW_BATCHES).where(RAW_BATCHES.c.family == family, RAW_BATCHES.c.batch == batch)
    with database.reading() as connection:
        one = connection.execute(chosen).one_or_none()
    if one is None or one.state != DONE:
        return None
    return Imported(one.source, batch, "known", one.rows, 0, one.rows - one.bad, one.bad, one.account)


def _finish(database: Database, family: str, done: Imported, faults: Sequence[Fault], now: float) -> None:
    bad = [
        (
            family, done.batch, number, _storable(done.source), fault.index, fault.kind[:200],
            _storable(fault.detail)[:LONGEST_REASON], now,
        )
        for number, fault in enumerate(faults)
    ]  # fmt: skip
    batch = {
        "family": family, "batch": done.batch, "source": _storable(done.source), "state": done.state, "rows": done.rows,
        "added": done.added, "repeated": done.repeated, "bad": done.bad, "account": _storable(done.account),
        "imported_at": now,
    }  # fmt: skip
    with database.writing(durable=True) as connection:
        mine = sa.and_(BAD_ROWS.c.family == family, BAD_ROWS.c.batch == done.batch)
        connection.execute(sa.delete(BAD_ROWS).where(mine))
        database.add_rows(connection, BAD_ROWS, bad)
        database.put(connection, RAW_BATCHES, [batch])


def _counted(reader: TableReader, faults: Sequence[Fault]) -> tuple[int, int, int, int]:
    """Return rows, added, repeated and bad of a file of which nothing can be taken."""
    bad = len({fault.index for fault in faults} - {None})
    return max(bad, *(account.rows for account in reader.accounts), 0), 0, 0, bad


def _account(reader: TableReader) -> str:
    return "\n".join(str(account) for account in reader.accounts)


def _storable(text: str) -> str:
    """Return a text without what a database does not hold: zeros and halves of characters."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()

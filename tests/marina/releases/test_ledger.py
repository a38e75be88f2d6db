"""The ledger tells what was live, and shows where it was touched."""

import json
import threading

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, LEDGER
from marina.releases import ledger
from marina.releases.declarations import declare
from tests.marina.rollout.releases import candidate, serve
from tests.marina.rollout.untied import untie

ROWS = 6


@pytest.fixture
def written(database: Database) -> Database:
    """A ledger of a few rows: 1.0 is served, then 2.0 beside it, growing."""
    serve(database, now=0.0)
    with database.writing() as connection:
        untie(connection)
    for number in range(1, ROWS):
        with database.writing() as connection:
            declare(connection, candidate(version="2.0"), float(number))
            connection.execute(sa.update(DECLARATIONS).where(DECLARATIONS.c.version == "2.0").values(weight=number / 3))
            ledger.append(connection, "ann", "grow", "sums", {"why": f"step {number}, größer"}, float(number))
    return database


def faults(database: Database) -> list[str]:
    with database.reading() as connection:
        return ledger.verify(connection)


def test_a_ledger_that_nobody_touched_is_whole(written: Database) -> None:
    assert faults(written) == []


CHANGES = {"time": 0.5, "who": "eve", "action": "shrink", "model": "other", "details": '{"live":{}}', "hash": "0"}


@pytest.mark.parametrize("seq", [1, 3, ROWS])
def test_a_changed_row_is_named(written: Database, seq: int) -> None:
    with written.reading() as connection:
        row = dict(connection.execute(sa.select(LEDGER).where(LEDGER.c.seq == seq)).one()._mapping)
    for column, value in CHANGES.items():
        with written.writing() as connection:
            written.put(connection, LEDGER, [row | {column: value}])
        assert f"row {seq}: changed" in faults(written)[0], column
    with written.writing() as connection:
        written.put(connection, LEDGER, [row])
    assert faults(written) == []


def test_a_changed_row_that_was_sealed_again_is_named(written: Database) -> None:
    with written.writing() as connection:
        forged = next(entry for entry in ledger.entries(connection) if entry.seq == 3)
        changed = ledger.Entry(**{**vars(forged), "who": "eve"})
        values = {"who": "eve", "hash": changed.compute_hash()}
        connection.execute(sa.update(LEDGER).where(LEDGER.c.seq == 3).values(values))
    assert [fault for fault in faults(written) if fault.startswith("row 3: hashed again")]


def test_a_row_taken_out_is_named(written: Database) -> None:
    with written.writing() as connection:
        connection.execute(sa.delete(LEDGER).where(LEDGER.c.seq == 4))
    assert faults(written)[0].startswith("row 4: missing")


def test_what_was_live_comes_from_its_rows_alone(written: Database) -> None:
    with written.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS))
    with written.reading() as connection:
        assert ledger.live_at(connection, -1.0) == {}
        assert ledger.live_at(connection, 0.5) == {"sums": {"1.0": 1.0}}
        assert ledger.live_at(connection, 3.9) == {"sums": {"1.0": 1.0, "2.0": 1.0}}


def test_each_row_says_which_archive_was_live(written: Database) -> None:
    with written.reading() as connection:
        last = next(ledger.entries(connection, "sums", newest_first=True))
    assert last.live["2.0"]["sha256"] == "2" * 64
    assert json.loads(last.details)["why"] == "step 5, größer"


def test_declaring_what_is_declared_adds_nothing(written: Database) -> None:
    with written.writing() as connection:
        ledger.declared(connection, "serve", ["sums"], 9.0)
        assert len(list(ledger.entries(connection))) == ROWS
        connection.execute(sa.delete(DECLARATIONS))
        ledger.declared(connection, "serve", ["sums"], 10.0)
        assert ledger.live_at(connection, 10.0) == {}
    assert faults(written) == []


def test_many_who_write_at_once_leave_one_chain(database_url: str) -> None:
    database = Database(database_url)
    database.upgrade()

    def write(name: str) -> None:
        own = Database(database_url)
        for _ in range(15):
            with own.writing() as connection:
                ledger.append(connection, name, "note", "sums", {}, 1.0)
        own.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("ann", "ben", "cem")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults(database) == []
    with database.reading() as connection:
        assert len(list(ledger.entries(connection))) == 45
    database.close()

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_BATCHES, RAW_RELEASES, RAW_ROWS
from training.data.reading.style import Style
from training.data.rows import importer
from training.data.rows.importer import import_path, import_synthetic
from training.data.rows.loader import release
from training.data.rows.source import UnknownSourceError, source

NOW = 1_795_000_000.0
HEAD = "designation;description;prdtypecode\n"


def products(first: int, last: int) -> str:
    return HEAD + "".join(f"product {number};;{10 + number % 5}\n" for number in range(first, last))


def state(database: Database) -> list[list[tuple[object, ...]]]:
    """All that an import and a release write, but for when."""
    with database.reading() as connection:
        return [
            sorted(
                tuple(value for name, value in row.items() if name not in ("imported_at", "released_at"))
                for row in connection.execute(sa.select(table)).mappings()
            )
            for table in (RAW_ROWS, RAW_BATCHES, BAD_ROWS, RAW_RELEASES)
        ]


def test_the_same_file_twice_adds_nothing_and_the_overlap_of_two_is_there_once(
    database: Database, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(products(0, 10) + "bad;;x\n")
    second.write_text(products(5, 15))
    (done,) = import_path(database, "catalog", first, Style(), NOW)
    assert (done.state, done.rows, done.added, done.bad) == ("done", 11, 10, 1)
    before = state(database)
    (again,) = import_path(database, "catalog", first, Style(), NOW)
    assert (again.state, again.added, again.bad) == ("known", 0, 1)
    assert state(database) == before
    (other,) = import_path(database, "catalog", second, Style(), NOW)
    assert (other.added, other.repeated) == (5, 5)
    assert [one.state for one in import_path(database, "catalog", tmp_path, Style(), NOW)] == ["known", "known"]


def test_overlapping_exports_of_a_bank_add_what_is_new(empty: Database, tmp_path: Path) -> None:
    head, coffee = "Date;Libellé;Montant\n", "31/01/2025;CAFÉ;-2,50\n"
    contents = [head + coffee * 2, head + coffee * 3 + "30/01/2025;PAIN;-1,10\n", head + coffee]
    added = []
    for number, content in enumerate(contents):
        file = tmp_path / f"{number}.csv"
        file.write_text(content)
        added.append(import_path(empty, "budget", file, Style(), NOW)[0].added)
    assert added == [2, 2, 0]


def test_a_row_that_contradicts_what_is_there_is_bad(empty: Database, tmp_path: Path) -> None:
    head = "asset,date,open,high,low,close\n"
    for name, close in (("ohlcv_1h_a.csv", 2), ("ohlcv_1h_b.csv", 1)):
        (tmp_path / name).write_text(f"{head}BTC,2025-01-31 00:00,1,2,1,{close}\nETH,2025-01-31 00:00,1,2,1,2\n")
    first, second = import_path(empty, "market", tmp_path, Style(), NOW)
    assert (first.added, first.bad, second.added, second.repeated, second.bad) == (2, 0, 0, 1, 1)
    with empty.reading() as connection:
        (bad,) = connection.execute(sa.select(BAD_ROWS)).all()
    assert (bad.source, bad.row) == ("ohlcv_1h_b.csv", 0) and "BTC, 2025-01-31T00:00:00Z" in bad.reason


def test_a_refused_file_is_taken_once_an_option_decides(empty: Database, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("Date;Libellé;Montant\n01/02/2025;CAFÉ;-2,50\n")
    assert import_path(empty, "budget", file, Style(), NOW)[0].state == "refused"
    (done,) = import_path(empty, "budget", file, Style(day_first=True), NOW)
    assert (done.state, done.added) == ("done", 1)
    with empty.reading() as connection:
        assert connection.execute(sa.select(BAD_ROWS)).all() == []


def test_a_row_is_the_same_row_however_its_file_spells_it(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Date;Libellé;Montant\n31/01/2025;CAFÉ;-1 002,50 €\n".encode("cp1252"))
    (tmp_path / "b.csv").write_text("date,label,amount\n2025-01-31,CAFÉ,-1002.5\n")
    assert [one.added for one in import_path(empty, "budget", tmp_path, Style(), NOW)] == [1, 0]


def test_synthetic_rows_are_added_once_and_another_seed_adds_others(empty: Database) -> None:
    counts = [import_synthetic(empty, "catalog", 50, seed, NOW)[0] for seed in (0, 0, 1)]
    assert [one.state for one in counts] == ["done", "known", "done"]
    assert counts[0].added > 40 and counts[1].added == 0 and counts[2].added > 40


def test_a_family_without_rows_is_refused_with_those_that_have() -> None:
    with pytest.raises(UnknownSourceError, match="catalog"):
        source("nothing")


def killed_at(url: str, number: int, act: Callable[[Database], object]) -> bool:
    """Do something in a process that is killed before its statement of that number; return whether it was."""
    child = os.fork()
    if not child:
        try:
            database, count = Database(url), 0

            def end(*_: object) -> None:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            sa.event.listen(database.engine, "before_cursor_execute", end)
            sa.event.listen(database.engine, "commit", end)
            act(database)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_an_import_that_is_killed_anywhere_adds_each_row_once_when_started_again(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "PORTION", 4)
    (tmp_path / "a.csv").write_text(products(0, 8) + "bad;;x\n")

    def act(database: Database) -> object:
        return import_path(database, "catalog", tmp_path, Style(), NOW)

    act(database)
    wanted = state(database)
    number, killed = 0, True
    while killed:
        number += 1
        with database.writing() as connection:
            for table in (RAW_ROWS, RAW_BATCHES, BAD_ROWS):
                connection.execute(sa.delete(table))
        database.close()
        killed = killed_at(database_url, number, act)
        if killed and number % 4 == 3:  # and once more, elsewhere
            killed_at(database_url, number // 2 + 1, act)
        act(database)
        assert state(database) == wanted, number
    assert number > 9


def test_a_release_that_is_killed_anywhere_is_there_as_a_whole_or_not_at_all(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(products(0, 40))
    import_path(database, "catalog", tmp_path, Style(), NOW)

    def act(database: Database) -> object:
        return release(database, "catalog", 0.1, 0.5, "2026-W48", NOW)

    act(database)
    wanted, number, killed = state(database), 0, True
    while killed:
        number += 1
        with database.writing() as connection:
            connection.execute(sa.delete(RAW_RELEASES))
            connection.execute(sa.update(RAW_ROWS).values(week=""))
        before = state(database)
        database.close()
        killed = killed_at(database_url, number, act)
        assert state(database) == (before if killed else wanted), number
        act(database)
        assert state(database) == wanted, number
    assert number > 8


def test_a_row_is_json_of_one_spelling(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "Théière;;10\n")
    import_path(empty, "catalog", tmp_path, Style(), NOW)
    with empty.reading() as connection:
        content = connection.execute(sa.select(RAW_ROWS.c.content)).scalar_one()
    assert content == json.dumps(
        {"description": "", "designation": "Théière", "prdtypecode": "10"}, separators=(",", ":")
    )

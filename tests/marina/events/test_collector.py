"""The collector, step by step."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EARLY_LABELS, EVIDENCE, INPUTS, LABELS, POSITIONS, PREDICTIONS
from marina.events import collector
from marina.events.collector import AHEAD_BYTES, Collector
from marina.events.labels import Label, record
from marina.events.offsets import dropped
from marina.events.spool import FILE_BYTES
from tests.marina.events.files import answered, append, counted, finish, folders, gateway_line, logged, worker


def test_answers_and_inputs_come_into_the_database_once(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    spool = worker(spool_dir, input_share=1.0)
    one = Collector(database, "here", spool_dir, log_dir)
    spool.keep([answered("a"), answered("b")])
    assert (one.step(), one.step()) == (2, 0)
    spool.keep([answered("c"), answered("a")])  # an id that was used before is the request it was first
    assert (one.step(), one.step()) == (2, 0)
    assert logged(database) == ["a", "b", "c"]
    with database.reading() as connection:
        assert connection.execute(sa.select(INPUTS.c.body)).scalars().all() == [b'{"a":1}'] * 3
        assert connection.execute(sa.select(PREDICTIONS.c.picked).distinct()).scalars().all() == [True]


def test_labels_that_came_before_their_answers_count_when_those_come(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    posted = [Label("a", "yes"), Label("b", "no"), Label("a", "yes", 5)]
    assert record(database, posted, 5.0) == ["early"] * 3
    worker(spool_dir).keep([answered("a"), answered("c")])
    finish(Collector(database, "here", spool_dir, log_dir))
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS.c.request_id, LABELS.c.label)).all() == [("a", "yes")]
        assert connection.execute(sa.select(EARLY_LABELS.c.request_id)).scalars().all() == ["b"]


def test_a_line_that_is_not_whole_waits_for_its_rest(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    with (log_dir / "access.jsonl").open("ab", buffering=0) as log:
        log.write(gateway_line("a") + gateway_line("b")[:40])
        assert (one.step(), one.step(), counted(database)) == (1, 0, 1)
        log.write(gateway_line("b")[40:])
        assert (one.step(), one.step(), counted(database)) == (1, 0, 2)


def test_it_is_behind_until_a_step_found_less_than_it_would_take(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "BATCH_BYTES", 1000)
    spool_dir, log_dir = folders(tmp_path)
    one, spool = Collector(database, "here", spool_dir, log_dir), worker(spool_dir)
    for number in range(20):
        spool.keep([answered(f"{number}")])
    steps = [(one.step() > 0, one.behind)]
    while steps[-1][1]:
        steps.append((one.step() > 0, one.behind))
    assert len(steps) > 2
    assert all(taken for taken, _ in steps)
    assert len(logged(database)) == 20
    with max(spool_dir.glob("*.jsonl")).open("ab") as file:
        file.write(b"{" * 2000)  # half a line
    assert (one.step(), one.behind) == (0, False)


def test_files_of_dead_workers_go_when_they_are_consumed(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    living, ended = worker(spool_dir), worker(spool_dir)
    living.keep([answered("a")])
    ended.keep([answered("b")])
    ended._end()
    with max(spool_dir.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"time":1,')  # the disk was full in the middle of a line
    finish(one)
    assert logged(database) == ["a", "b"]
    assert len(list(spool_dir.glob("*.jsonl"))) == 1
    living.keep([answered("c")])
    finish(one)
    assert logged(database) == ["a", "b", "c"]
    one.tidy()
    with database.reading() as connection:
        sources = connection.execute(sa.select(POSITIONS.c.source)).scalars().all()
    assert len([source for source in sources if " spool " in source]) == 1


def test_a_file_goes_when_what_came_of_it_outlives_a_power_cut(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool_dir, log_dir = folders(tmp_path)
    for number in range(2):
        spool = worker(spool_dir)
        spool.keep([answered(f"{number}")])
        spool._end()
        (log_dir / f"access.{number}.jsonl").write_bytes(gateway_line(f"{number}"))
    one = Collector(database, "here", spool_dir, log_dir)
    with monkeypatch.context() as changed:
        changed.setattr(database, "settle", lambda: False)
        finish(one)
        one.settle()
    assert len(list(spool_dir.glob("*.jsonl"))) == 2 and len(list(log_dir.glob("access.*"))) == 2
    assert one.step() == 0
    assert list(spool_dir.glob("*.jsonl")) == []
    assert [path.name for path in log_dir.glob("access.*")] == ["access.1.jsonl"]
    assert (logged(database), counted(database)) == (["0", "1"], 2)


def test_files_that_are_written_to_have_room_on_the_disk(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    spool = worker(spool_dir)
    spool.keep([answered("a")])
    append(log_dir / "access.jsonl", gateway_line("a"))
    one = Collector(database, "here", spool_dir, log_dir)
    finish(one)
    for path, room in ((next(spool_dir.glob("*-*.jsonl")), FILE_BYTES), (log_dir / "access.jsonl", AHEAD_BYTES)):
        state = path.stat()
        assert state.st_size < 1000 and state.st_blocks * 512 >= room
    spool.keep([answered("b")])
    append(log_dir / "access.jsonl", gateway_line("b"))
    finish(one)
    assert (logged(database), counted(database)) == (["a", "b"], 2)


def test_malformed_lines_are_counted_and_told_of_once(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    for at in range(3):
        (spool_dir / f"m-1-7-{at}.jsonl").write_bytes(b"nonsense\n" + b'{"dropped":2,"time":1.0}\n')
        append(log_dir / "access.jsonl", b"nonsense\n" + gateway_line("a"))
        finish(one)
    told = capsys.readouterr().err
    assert told.count("none of ours") == 1
    with database.reading() as connection:
        assert dropped(connection) == {"here": 6}
        malformed = sa.select(POSITIONS.c.position).where(POSITIONS.c.source == "here count malformed")
        assert connection.execute(malformed).scalar_one() == 6


def test_late_lines_are_counted_in_the_window_of_their_own_time(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    log = log_dir / "access.jsonl"
    for msec in (1_000_003.0, 1_000_011.0, 1_000_004.9, 3.0, 1_000_000.0):
        append(log, gateway_line(f"r{msec}", msec))
        finish(one)
    with database.reading() as connection:
        rows = connection.execute(sa.select(EVIDENCE.c.start, EVIDENCE.c.requests).order_by(EVIDENCE.c.start)).all()
    assert [tuple(row) for row in rows] == [(0, 1), (1_000_000, 3), (1_000_010, 1)]


def test_a_log_renamed_in_the_middle_is_read_on_and_goes_when_a_later_one_is_there(
    database: Database, tmp_path: Path
) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    expected = 0
    for number in range(1, 5):
        with (log_dir / "access.jsonl").open("ab", buffering=0) as log:
            for part in range(3):
                log.write(gateway_line(f"{number}-{part}") * 5)
                expected += 5
                if part == 1:
                    (log_dir / "access.jsonl").replace(log_dir / f"access.{number}.jsonl")
                finish(one)
        assert counted(database) == expected
    assert [path.name for path in log_dir.glob("access.*")] == ["access.4.jsonl"]


def test_while_the_database_is_away_for_long_the_oldest_logs_go(tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    for number in range(collector.MOST_LOGS + 5):
        path = log_dir / f"access.{number}.jsonl"
        path.write_bytes(gateway_line(str(number)))
        os.utime(path, ns=(number, number))
    (log_dir / "access.jsonl").write_bytes(gateway_line("now"))
    away = Database("postgresql://marina@127.0.0.1:1/none")
    with pytest.raises(sa.exc.OperationalError):
        Collector(away, "here", spool_dir, log_dir).step()
    left = sorted(int(path.name.split(".")[1]) for path in log_dir.glob("access.*.jsonl"))
    assert left == list(range(5, collector.MOST_LOGS + 5))


def test_a_server_under_another_name_counts_no_line_again(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    spool = worker(spool_dir)
    for number, replica in enumerate(("here", "elsewhere", "here"), 1):
        spool.keep([answered(f"{number}")])
        append(log_dir / "access.jsonl", gateway_line(f"{number}"))
        one = Collector(database, replica, spool_dir, log_dir)
        assert (one.step(), one.step()) == (2, 0)
        one.tidy()
        assert counted(database) == number
    with database.reading() as connection:
        by_name = connection.execute(sa.select(EVIDENCE.c.replica, EVIDENCE.c.requests))
        assert {row.replica: row.requests for row in by_name} == {"here": 2, "elsewhere": 1}
        assert len(connection.execute(sa.select(POSITIONS)).all()) == 2


def test_rows_that_the_database_refuses_are_counted_and_the_others_kept(database: Database, tmp_path: Path) -> None:
    with database.writing() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE predictions ADD CHECK (request_id <> 'bad')")
        else:
            connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON predictions WHEN new.request_id = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    worker(spool_dir).keep([answered(name) for name in ("a", "bad", "b")])
    assert (one.step(), one.step()) == (3, 0)
    assert logged(database) == ["a", "b"]
    with database.reading() as connection:
        malformed = sa.select(POSITIONS.c.position).where(POSITIONS.c.source == "here count malformed")
        assert connection.execute(malformed).scalar_one() == 1


def test_replicas_that_share_a_database_add_up(database: Database, tmp_path: Path) -> None:
    for replica in ("here", "there"):
        (tmp_path / replica).mkdir()
        spool_dir, log_dir = folders(tmp_path / replica)
        worker(spool_dir).keep([answered(f"{replica}")])
        (log_dir / "access.jsonl").write_bytes(gateway_line("same in both"))
        one = Collector(database, replica, spool_dir, log_dir)
        finish(one)
        one.tidy()
    assert logged(database) == ["here", "there"]
    assert counted(database) == 2

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from events import access, collector
from events.collector import Collector
from events.database import Database
from events.latencies import from_json
from events.positions import dropped, of_shadow
from events.retention import DAY_S, forget
from events.tables import EVIDENCE, INPUTS, LABELS, POSITIONS, PREDICTIONS, REPLICAS, SHADOW_PAIRS
from handlers.spool import Answered, Sampling, Spool
from tests import postgres
from tests.serving import ROOT

ANSWER = (
    b'{"model":"m","version":"1","request_id":"%b","predictions":[{"label":"yes","probability":0.9}],"serving_ms":1.5}'
)


def answered(request_id: str) -> Answered:
    headers = {"content-type": "application/json", "x-picked": "1"}
    return Answered(request_id, headers, b'{"a": 1}', False, ANSWER % request_id.encode())


def gateway_line(request_id: str, msec: float = 1000.0, version: str = "1") -> bytes:
    said = {"id": request_id, "msec": msec, "model": "m", "version": version, "picked": "1", "status": 200}
    return json.dumps(said | {"seconds": 0.004, "upstream": "200", "path": "/predictions/m"}).encode() + b"\n"


def append(path: Path, lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(lines)


def folders(home: Path) -> tuple[Path, Path]:
    for name in ("spool", "logs"):
        (home / name).mkdir(exist_ok=True)
    return home / "spool", home / "logs"


def worker(folder: Path, **sampling: float) -> Spool:
    return Spool(folder, "m", "1", Sampling(**sampling), 1 << 28)  # type: ignore[arg-type]


def logged(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(
            connection.execute(sa.select(PREDICTIONS.c.request_id).order_by(PREDICTIONS.c.request_id)).scalars()
        )


def counted(database: Database) -> int:
    """Return the gateway's requests; latencies must agree with them."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(EVIDENCE)).all()
    assert all(sum(from_json(row.latencies).values()) == row.requests for row in rows)
    return sum(row.requests for row in rows)


def finish(one: Collector) -> None:
    while one.step():
        pass


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


def test_a_line_that_is_not_whole_waits_for_its_rest(database: Database, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    one = Collector(database, "here", spool_dir, log_dir)
    with (log_dir / "access.jsonl").open("ab", buffering=0) as log:
        log.write(gateway_line("a") + gateway_line("b")[:40])
        assert (one.step(), one.step(), counted(database)) == (1, 0, 1)
        log.write(gateway_line("b")[40:])
        assert (one.step(), one.step(), counted(database)) == (1, 0, 2)


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
    assert [path.name for path in log_dir.iterdir()] == ["access.4.jsonl"]


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


def test_what_is_too_old_is_deleted_in_small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.retention.BATCH_ROWS", 10)
    now = 1_000 * DAY_S
    shared = {"request_id": "r", "model": "m", "version": "1", "instance": 0}
    with database.writing() as connection:
        for at in range(60):
            row = shared | {"request_id": f"{at}", "version": f"{at % 2}", "time": now - at * DAY_S + 1}
            database.add_new(connection, PREDICTIONS, [row | {"picked": True, "answer": "{}"}])
            database.add_new(
                connection,
                INPUTS,
                [{k: row[k] for k in ("request_id", "model", "version", "time")} | {"content_type": "", "body": b""}],
            )
            database.add_new(
                connection, LABELS, [{"request_id": f"{at}", "instance": 0, "label": "", "time": row["time"]}]
            )
            pair = {"request_id": f"{at}", "model": "m", "shadow": "2", "stable": "1", "instance": 0, "status": 200}
            database.add_new(connection, SHADOW_PAIRS, [pair | {"time": row["time"]}])
            access.add_windows(database, connection, "here", {access.Key("m", "1", int(row["time"])): access.Window(1)})
            report = {"replica": f"{at}", "model": "m", "version": "1", "sha256": "", "state": "ready", "reason": ""}
            database.add_new(connection, REPLICAS, [report | {"weight": 1.0, "seen_at": row["time"]}])
            places = {of_shadow("m", f"{at // 10}"): int(row["time"] * 1000), f"folder spool 7-{at}": at}
            rows = [{"source": source, "position": position} for source, position in places.items()]
            database.add_new(connection, POSITIONS, rows)
    assert max(forget(database, now, retention_days=30, input_retention_days=7)) == 10
    with database.reading() as connection:
        left = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (PREDICTIONS, INPUTS, LABELS, SHADOW_PAIRS, EVIDENCE, REPLICAS)
        }
        shadows = sa.select(sa.func.count()).where(POSITIONS.c.source.startswith("shadow/"))
        assert connection.execute(shadows).scalar_one() == 4
        assert connection.execute(sa.select(sa.func.count()).select_from(POSITIONS)).scalar_one() == 4 + 60
    assert left.pop("inputs") == 8
    assert set(left.values()) == {31}


@contextlib.contextmanager
def started(url: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the collector as the supervisor does, until the block ends or kills it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    env |= {"MARINA_DATABASE_URL": url, "MARINA_STATE_DIR": str(home), "MARINA_REPLICA": "here"}
    with (home / "collector.txt").open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "events.collector"], cwd=ROOT, env=env, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(what: object, timeout_s: float = 120.0) -> None:
    assert callable(what)
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def killed_at(moment: int, url: str, spool_dir: Path, log_dir: Path) -> bool:
    """Collect in a child that kills itself at its n-th access to the database or removal of a file.

    Returns whether it was killed: False when it came to its end before.
    """
    child = os.fork()
    if child == 0:
        passed = 0

        def pass_by(*_: object) -> None:
            nonlocal passed
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            database = Database(url)
            for name in ("before_cursor_execute", "after_cursor_execute", "commit", "checkin"):
                sa.event.listen(database.engine, name, pass_by)
            sys.addaudithook(lambda name, _: pass_by() if name == "os.remove" else None)
            one = Collector(database, "here", spool_dir, log_dir)
            finish(one)
            one.tidy()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_killed_at_each_access_to_database_and_files_it_counts_every_line_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    spool_dir, log_dir = folders(tmp_path)
    sent: list[str] = []
    moment, killed = 0, True
    while killed:
        moment += 1
        for part in range(2):
            batch = [f"{moment:03d}-{part}-{at}" for at in range(3)]
            spool = worker(spool_dir)
            spool.keep([answered(one) for one in batch])
            spool._end()
            log = log_dir / "access.jsonl"
            append(log, b"".join(gateway_line(one) for one in batch))
            log.replace(log_dir / f"access.{moment}-{part}.jsonl")
            sent += batch
        (spool_dir / f"m-1-7-{moment}.jsonl").write_bytes(b'{"dropped":1,"time":1.0}\n')
        database.close()  # a child inherits no connection
        killed = killed_at(moment, database_url, spool_dir, log_dir)
        finish(Collector(database, "here", spool_dir, log_dir))
        assert logged(database) == sent
        assert counted(database) == len(sent)
        with database.reading() as connection:
            assert dropped(connection) == {"here": moment}
        assert list(spool_dir.glob("*.jsonl")) == []
    assert moment > 15


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_serving_it_counts_every_line_once(database: Database, database_url: str, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    stop = threading.Event()
    sent: list[str] = []

    def serve() -> None:
        workers = [worker(spool_dir), worker(spool_dir)]
        for one in workers:
            one._file_bytes = 200_000
        while not stop.is_set():
            if len(list(spool_dir.glob("*.jsonl"))) > 15:  # as much as waits at any time: some batches
                time.sleep(0.05)
                continue
            batch = [uuid.uuid4().hex for _ in range(20)]
            workers[len(sent) // 20 % 2].keep([answered(one) for one in batch])
            append(log_dir / "access.jsonl", b"".join(gateway_line(one, time.time()) for one in batch))
            sent.extend(batch)
            if len(sent) % 2000 == 0:
                (log_dir / "access.jsonl").replace(log_dir / f"access.{len(sent)}.jsonl")
            time.sleep(0.01)
        for one in workers:
            one._end()

    server = threading.Thread(target=serve)
    server.start()
    draw = random.Random(7)
    try:
        for _ in range(5):
            before = len(logged(database))
            with started(database_url, tmp_path):
                wait_for(lambda before=before: len(logged(database)) > before)
                time.sleep(draw.uniform(0, 0.3))
    finally:
        stop.set()
        server.join()
    with started(database_url, tmp_path) as process:
        wait_for(lambda: len(logged(database)) >= len(sent) and counted(database) >= len(sent))
        process.terminate()
        assert process.wait(60) == 0
    assert logged(database) == sorted(sent)
    assert counted(database) == len(sent)
    assert list(spool_dir.glob("*.jsonl")) == []
    assert (tmp_path / "collector.txt").read_text() == ""


@pytest.fixture
def own_server() -> Iterator[postgres.Postgres]:
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running() as server:
        yield server


@pytest.mark.slow
def test_a_database_that_dies_and_comes_back_costs_nothing(own_server: postgres.Postgres, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    database = Database(own_server.fresh("marina"))
    database.upgrade()
    spool = worker(spool_dir)
    said = tmp_path / "collector.txt"
    with started(own_server.url("marina"), tmp_path) as process:
        spool.keep([answered("before")])
        wait_for(lambda: logged(database) == ["before"])
        database.close()
        own_server.kill()
        for number in range(100):
            spool.keep([answered(f"during-{number:03d}")])
            append(log_dir / "access.jsonl", gateway_line(f"during-{number}", time.time()))
        wait_for(lambda: "the database is away" in said.read_text())
        time.sleep(3)  # several tries
        assert process.poll() is None
        own_server.start()
        wait_for(lambda: len(logged(database)) == 101 and counted(database) == 100)
        process.terminate()
        assert process.wait(60) == 0
    database.close()
    lines = said.read_text().splitlines()
    assert [line.partition(";")[0].partition(" (")[0] for line in lines] == [
        "collector: the database is away",
        "collector: the database is back",
    ]


def test_a_second_collector_waits_for_the_first_to_end(tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    sent = 0

    def write(lines: int) -> None:
        nonlocal sent
        for _ in range(lines):  # so slowly that two would both find some
            append(log_dir / "access.jsonl", gateway_line(f"{sent}", time.time()))
            sent += 1
            time.sleep(0.05)

    with started(url, tmp_path) as first:
        write(1)
        wait_for(lambda: counted(database) == 1)
        with started(url, tmp_path) as second:
            write(50)
            wait_for(lambda: counted(database) >= sent)
            time.sleep(3 * collector.PAUSE_S)
            assert counted(database) == sent
            first.kill()
            write(1)
            wait_for(lambda: counted(database) == sent)
            worker(spool_dir).keep([answered("a")])
            wait_for(lambda: logged(database) == ["a"])
            second.terminate()
            assert second.wait(60) == 0
    assert counted(database) == sent
    database.close()


def test_deleting_what_is_old_begins_again_after_an_error(tmp_path: Path) -> None:
    folders(tmp_path)
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), {"request_id": "a", "instance": 0, "label": "", "time": 1.0})
        connection.exec_driver_sql("ALTER TABLE labels RENAME TO away")
    with started(url, tmp_path) as process:
        wait_for(lambda: "the database is away" in (tmp_path / "collector.txt").read_text())
        with database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO labels")

        def labels() -> int:
            with database.reading() as connection:
                return connection.execute(sa.select(sa.func.count()).select_from(LABELS)).scalar_one()

        wait_for(lambda: labels() == 0, timeout_s=30)
        process.terminate()
        assert process.wait(60) == 0
    database.close()

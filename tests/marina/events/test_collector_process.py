"""The collector as a process: killed, without its database, beside another."""

import contextlib
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

from marina.database.connection import Database
from marina.database.tables import LABELS
from marina.events.collector import Collector
from marina.events.offsets import dropped
from marina.events.pace import IDLE_S
from tests import postgres
from tests.marina.events.files import answered, append, counted, finish, folders, gateway_line, logged, worker
from tests.serving import ROOT


@contextlib.contextmanager
def started(url: str, home: Path, first: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run the collector as the supervisor does, until the block ends or kills it; with some Python before."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    env |= {"MARINA_DATABASE_URL": url, "MARINA_STATE_DIR": str(home), "MARINA_REPLICA": "here"}
    with (home / "collector.txt").open("ab") as output:
        code = f"import time, marina.events.collector as collector; {first}\nraise SystemExit(collector.main())"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=output)
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
    assert moment > 15  # each file alone takes more accesses than one


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
            if one._making:
                one._making.join()
            if one._next >= 0:
                os.close(one._next)

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
        wait_for(lambda: not list(spool_dir.glob("*.jsonl")))
        process.terminate()
        assert process.wait(60) == 0
    assert logged(database) == sorted(sent)
    assert counted(database) == len(sent)
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
        wait_for(lambda: "the database is unavailable" in said.read_text())
        time.sleep(3)  # several tries
        assert process.poll() is None
        own_server.start()
        wait_for(lambda: len(logged(database)) == 101 and counted(database) == 100)
        process.terminate()
        assert process.wait(60) == 0
    database.close()
    lines = said.read_text().splitlines()
    assert [line[10:].partition(";")[0].partition(" (")[0] for line in lines] == [
        "collector: the database is unavailable",
        "collector: the database is available again",
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
            time.sleep(3 * IDLE_S)
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


def labels(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(LABELS)).scalar_one()


def test_deleting_what_is_old_begins_again_after_an_error(tmp_path: Path) -> None:
    folders(tmp_path)
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    with database.writing() as connection:
        for number, at in enumerate((1.0, time.time())):
            row = {"request_id": f"{number}", "instance": 0, "label": "", "time": at}
            connection.execute(sa.insert(LABELS), row)
        connection.exec_driver_sql("ALTER TABLE labels RENAME TO away")
    with started(url, tmp_path, "collector.HOUR_S = 0.2") as process:
        wait_for(lambda: "the database is unavailable" in (tmp_path / "collector.txt").read_text())
        with database.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO labels")
        wait_for(lambda: labels(database) == 1, timeout_s=30)
        process.terminate()
        assert process.wait(60) == 0
    database.close()


def test_a_disk_that_cannot_be_read_or_written_ends_no_collector(tmp_path: Path) -> None:
    spool_dir = folders(tmp_path)[0]
    url = f"sqlite:///{tmp_path}/marina.db"
    Database(url).upgrade()
    worker(spool_dir).keep([answered("a")])
    broken = "collector.AWAY_S = 0.1; read = collector.read_lines; left = iter(range(3))\n"
    broken += "def fail(*given, **named):\n    for _ in left: raise OSError(28, 'No space left on device')\n"
    broken += "    return read(*given, **named)\n"
    with started(url, tmp_path, f"{broken}collector.read_lines = fail") as process:
        database = Database(url)
        wait_for(lambda: logged(database) == ["a"])
        database.close()
        process.terminate()
        assert process.wait(60) == 0
    away, back = (tmp_path / "collector.txt").read_text().splitlines()
    assert "the disk is unavailable" in away and "No space left" in away and "the disk is available again" in back


@pytest.mark.parametrize("days", [100, -100])
def test_a_collector_whose_clock_jumped_deletes_nothing(days: int, tmp_path: Path) -> None:
    spool_dir, log_dir = folders(tmp_path)
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    with database.writing() as connection:
        rows = [{"request_id": f"{n}", "instance": 0, "label": "", "time": time.time() - n * 86_400} for n in range(80)]
        connection.execute(sa.insert(LABELS), rows)
    worker(spool_dir).keep([answered("a")])
    append(log_dir / "access.jsonl", gateway_line("a", time.time()))
    jump = f"now = time.time; time.time = lambda: now() + {days} * 86400; collector.HOUR_S = 0.1"
    with started(url, tmp_path, jump) as process:
        wait_for(lambda: logged(database) == ["a"])
        time.sleep(1.5)  # a dozen runs
        process.terminate()
        assert process.wait(60) == 0
    assert (labels(database), logged(database), counted(database)) == (80, ["a"], 1)
    assert ("no rows are deleted" in (tmp_path / "collector.txt").read_text()) == (days > 0)
    database.close()

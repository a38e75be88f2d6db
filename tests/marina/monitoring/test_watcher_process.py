"""The watcher as a process: it waits for its database, catches up, gives the lease back, and ends when asked to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.tables import DRIFT_DETECTORS, LEASES
from marina.settings import ROOT
from tests.marina.monitoring.watched import BEGAN, answers, declare, insert


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def test_it_waits_for_its_database_and_catches_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/marina.db"
    env = os.environ | {"MARINA_STATE_DIR": str(tmp_path), "MARINA_ARCHIVE_STORE": str(tmp_path / "store")}
    env |= {"MARINA_DATABASE_URL": url, "PYTHONUNBUFFERED": "1"}
    log = tmp_path / "watcher.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "marina.monitoring.watcher"], cwd=ROOT, env=env, stdout=output, stderr=output
        )
        try:
            wait_for(lambda: "database is unavailable" in log.read_text(), "it reports the outage")
            database = Database(url)
            database.upgrade()
            yesterday = time.time() - 86_400
            declare(database, tmp_path / "store", at=yesterday)
            insert(database, [row | {"time": row["time"] - BEGAN + yesterday} for row in answers(1_000)])

            def taken() -> int:
                try:
                    with database.reading() as connection:
                        return connection.execute(sa.select(DRIFT_DETECTORS.c.requests)).scalar() or 0
                except AWAY:
                    return 0

            wait_for(lambda: taken() == 1_000, "it takes what was answered")
            wait_for(lambda: "available again" in log.read_text(), "it reports that the outage is over")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
            with database.reading() as connection:
                assert connection.execute(sa.select(LEASES)).all() == []
            database.close()
        finally:
            process.kill()
            process.wait()

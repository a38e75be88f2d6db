"""Whatever becomes of the database's file, predictions go on; what needs it waits, and goes on when it is back."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marina.database.backup import back_up, copy_of
from tests.marina.serving.test_full_disk import label, stopped
from tests.marina.serving.test_reconciler import until
from tests.serving import Server, archive, running
from tests.survival import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextlib.contextmanager
def asked(server: Server) -> Iterator[None]:
    """Ask without a pause; every request is answered."""
    with Traffic(server, wish={"sleep_s": 0.01}, connections=2) as traffic:
        yield
        until(lambda: len(traffic.answers) > 20)
    assert traffic.statuses == {200: len(traffic.answers)}


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def torn(file: Path) -> None:
    """Cut everything off: who has the log's index in memory is killed by the kernel."""
    for one in file.parent.glob("marina.db*"):
        os.truncate(one, 0)


def gone(file: Path) -> None:
    for one in file.parent.glob("marina.db*"):
        one.unlink()


def restore(server: Server, copy: Path) -> None:
    """Put a backup in its place, as docs/OPERATIONS.md says."""
    file = server.state_dir / "marina.db"
    with contextlib.suppress(FileNotFoundError):
        file.rename(file.with_suffix(".damaged"))
    for one in server.state_dir.glob("marina.db-*"):
        one.unlink()
    with contextlib.suppress(FileNotFoundError):
        (server.state_dir / "ledger.heads").rename(server.state_dir / f"ledger.heads.{time.time_ns()}")
    shutil.copy(copy, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def test_a_damaged_database_ends_nothing_while_a_server_runs_and_keeps_none_from_starting(tmp_path: Path) -> None:
    state, copy = {"state_dir": str(tmp_path / "state")}, tmp_path / "copy.db"
    file = tmp_path / "state" / "marina.db"
    with running([archive(tmp_path)], state) as server:
        back_up(file)
        shutil.copy(copy_of(file), copy)
        for damage in (garbage, torn, gone):
            with asked(server):
                damage(file)
                time.sleep(6)
                refused = label(server)
                assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
                restore(server, copy)
                until(lambda: label(server).status_code == 200, 60)
        holder = sqlite3.connect(file, isolation_level=None, timeout=30)
        with asked(server):
            holder.execute("BEGIN EXCLUSIVE")
            time.sleep(3)
        assert stopped(server, 15)
        holder.close()
    garbage(file)
    with running([], state) as server:
        assert "THE DATABASE CANNOT BE USED" in server.output.read_text()
        with asked(server):
            assert label(server).status_code == 503
            restore(server, copy)
            until(lambda: label(server).status_code == 200, 60)
            until(lambda: "the database is available again" in (server.log_dir / "controller.log").read_text(), 30)

"""A restore has what was there, whatever is killed, and nothing writes in the middle of it."""

import hashlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.half_restored import RESTORING, HalfRestoredError
from marina.database.tables import ALERTS
from marina.pipelines.backup import database_copy, manifest
from marina.pipelines.backup.restore import RestoreError, restore
from marina.pipelines.backup.runs import run, verify
from marina.pipelines.backup.stores import Folder
from marina.releases.heads import open_database
from marina.releases.lease import Lease
from marina.serving.preflight import check_state_dir
from scripts import load_data, loop, orchestrator
from tests.marina.pipelines.backup.installations import content, elsewhere, environment, installation, kill_when


@pytest.fixture(params=["sqlite", "pg_dump", "tables"])
def urls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, str]:
    """The databases of an installation and of an empty machine."""
    if request.param == "sqlite":
        return "", ""
    server = request.getfixturevalue("postgres_server")
    if request.param == "tables":
        monkeypatch.setattr(database_copy, "postgres_program", lambda name: None)
    elif not database_copy.postgres_program("pg_dump"):
        pytest.skip("no pg_dump here: sudo apt-get install postgresql-client")
    name = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    return server.fresh(f"a{name}"), server.fresh(f"b{name}")


ALERT = {
    "model": "m", "version": "1", "kind": "k", "name": "n", "level": "warning", "what": "w", "since": 0.0,
    "effect": 0.0, "evidence": 0.0, "needed": 0.0, "harm": "", "link": "", "opened_at": 0.0, "updated_at": 0.0,
    "state": "open",
}  # fmt: skip


def test_a_restore_has_the_same_rows_ledger_archives_and_public_keys(tmp_path: Path, urls: tuple[str, str]) -> None:
    settings, store = installation(tmp_path / "one", urls[0]), Folder(tmp_path / "backups")
    before, made = content(settings), run(settings, store)
    assert verify(store)[2] == []
    empty = elsewhere(settings, tmp_path / "two", urls[1])
    done = restore(empty, store)
    assert done.faults == [] and content(empty) == before
    assert done.manifest.head == {"seq": 1, "hash": before[1][-1].hash} == made.manifest.head
    same = ("state/ledger.heads", "store/echo-1.0.mar", "state/mlflow/1/echo-1.0.mar")
    for name in same:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    [key] = (empty.state_dir / "keys" / "ledger").glob("*.pem")
    assert b"PUBLIC" in key.read_bytes()
    assert not (empty.state_dir / "ledger.key").exists() and not (empty.state_dir / RESTORING).exists()
    with pytest.raises(RestoreError, match="--force"):
        restore(empty, store)
    database = Database(empty.database)
    with database.writing() as connection:  # numbers continue after those that are there
        connection.execute(sa.insert(ALERTS), [ALERT])
    database.close()
    assert restore(empty, store, force=True).faults == []
    assert content(empty) == before


def test_a_run_and_a_restore_that_are_killed_cost_nothing_and_continue(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    (settings.state_dir / "mlflow" / "large").write_bytes(os.urandom(32 << 20))
    first = run(settings, store)
    (settings.state_dir / "mlflow" / "large").write_bytes(os.urandom(32 << 20))
    env = os.environ | environment(settings, store)
    before = len(store.names(manifest.OBJECTS))
    kill_when(env, "run", lambda: len(store.names(manifest.OBJECTS)) > before + 2)
    assert manifest.ids(store) == [first.name] and verify(store)[2] == []
    again = run(settings, store)
    assert again.new_bytes < 32 << 20, "it continued with what was copied"
    assert not list(settings.state_dir.glob(".backup-*")) and verify(store)[2] == []

    empty = elsewhere(settings, tmp_path / "two")
    env |= {"MARINA_STATE_DIR": str(empty.state_dir), "MARINA_ARCHIVE_STORE": str(empty.archive_store)}
    kill_when(env, "restore", (empty.state_dir / "mlflow").exists)
    for begin in (check_state_dir, open_database, lambda _: run(empty, store)):
        with pytest.raises(HalfRestoredError, match=f"restore --backup {again.name}"):
            begin(empty)
    assert not (empty.state_dir / "ledger.key").exists()
    done = restore(empty, store)
    assert done.faults == [] and content(empty) == content(settings)
    assert not list(empty.state_dir.rglob("*.restoring"))
    check_state_dir(empty)


def test_what_was_there_is_kept_where_a_restore_is_killed_while_it_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    run(settings, store)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "move", _killed)
        restore(settings, store, force=True)
    with pytest.raises(HalfRestoredError, match="restore --force"):
        check_state_dir(settings)
    with pytest.raises(RestoreError, match="--force"):
        restore(settings, store)
    before = content(settings)
    time.sleep(1.0)  # what was there goes to a folder named by the second
    aside = restore(settings, store, force=True).aside
    assert (
        aside is not None and content(elsewhere(settings, tmp_path / "gone", f"sqlite:///{aside}/marina.db")) == before
    )


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (load_data, ["status", "--family", "catalog"]),
        (loop, ["once", "--families", "catalog"]),
        (orchestrator, ["run"]),
    ],
)
def test_no_program_writes_where_a_restore_is_not_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: Any,
    arguments: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    (tmp_path / RESTORING).write_text("20261127T")
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert program.main(arguments) == 1 and "restore --backup 20261127T" in capsys.readouterr().err
    finally:
        for signum, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(signum, handler)
    assert [one.name for one in tmp_path.iterdir()] == [RESTORING]


def test_a_database_with_which_a_loop_works_is_not_replaced(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    made, database, loop = run(settings, store), Database(settings.database), Lease("loop", "a daemon")
    with database.writing() as connection:
        assert loop.take(connection, time.time())
    with pytest.raises(RestoreError, match="A loop works"):
        restore(settings, store, force=True)
    assert not (settings.state_dir / RESTORING).exists()
    with database.writing() as connection:
        loop.give_back(connection)
    database.close()
    assert restore(settings, store, force=True).name == made.name

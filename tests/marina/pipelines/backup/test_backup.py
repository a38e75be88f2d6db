"""Backups: only what is new is copied, damage is found, and of several runs at once one is made."""

import json
import os
import re
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database import backup_schedule
from marina.database.backup_tables import BACKUPS
from marina.database.connection import Database
from marina.database.tables import LEASES
from marina.monitoring.backup_metrics import backups_of
from marina.pipelines import step_list
from marina.pipelines.backup import manifest, runs
from marina.pipelines.backup.database_copy import CopyError
from marina.pipelines.backup.manifest import Manifest
from marina.pipelines.backup.restore import restore
from marina.pipelines.backup.runs import BackupRunError, prune, run, verify
from marina.pipelines.backup.stores import Folder, StoreError, open_store
from marina.releases.lease import Lease
from scripts import backup
from tests.marina.pipelines.backup.installations import DAY_S, elsewhere, environment, installation
from tests.postgres import Postgres


def test_only_what_is_new_is_copied_and_what_is_past_keeping_is_deleted(tmp_path: Path) -> None:
    settings, store, now = installation(tmp_path / "one"), Folder(tmp_path / "backups"), time.time()
    first = run(settings, store, lambda: now - 40 * DAY_S)
    archive_bytes = (settings.archive_store / "echo-1.0.mar").stat().st_size
    assert first.new_bytes < first.manifest.bytes - archive_bytes, "an archive is kept once, wherever it lies"
    (settings.state_dir / "keys" / "extra.pem").write_bytes(b"x" * 1000)
    for piece in store.names(manifest.OBJECTS):
        os.utime(store.path / piece, (now - 40 * DAY_S, now - 40 * DAY_S))
    second = run(settings, store, lambda: now - 39 * DAY_S)
    third = run(settings, store, lambda: now)
    assert first.deleted == [] and second.new_bytes < first.new_bytes
    least = settings.backup_keep_least
    assert len(manifest.ids(store)) == 3 < least, "so many stay, however old"
    with pytest.raises(BackupRunError, match="another one runs"):
        prune(store, 30, 1, now, _lost)
    assert len(manifest.ids(store)) == 3, "it is asked before the first deletion"
    assert prune(store, 30, 1, now) == [first.name, second.name]
    assert manifest.ids(store) == [third.name] and verify(store)[2] == []
    needed = {manifest.object_name(piece) for piece in third.manifest.pieces()}
    newer = {manifest.object_name(piece) for piece in second.manifest.pieces() - first.manifest.pieces()} - needed
    assert store.names(manifest.OBJECTS).keys() == needed | newer, "what is not a day old may be of a run under way"
    assert newer and prune(store, 30, 1, time.time() + 1.1 * DAY_S) == []
    assert store.names(manifest.OBJECTS).keys() == needed
    database = Database(settings.database)
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(BACKUPS)).scalar() == 3
        text = "".join(line for family in backups_of(settings)(connection, now) for line in family)
    database.close()
    assert float(re.findall(r"^marina_backup_last_success\w+\{\} (\S+)", text, re.M)[0]) == pytest.approx(now)


def _lost() -> None:
    raise BackupRunError("another one runs")


def test_damage_is_found_refused_and_repaired_by_the_next_run(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    made = run(settings, store)
    [piece] = next(one for one in made.manifest.files if one.path == "store/echo-1.0.mar").pieces
    path = store.path / manifest.object_name(piece)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    faults = verify(store)[2]
    assert any("damaged" in one for one in faults) and any("echo 1.0" in one for one in faults)
    with pytest.raises(StoreError, match="damaged"):
        restore(elsewhere(settings, tmp_path / "two"), store)
    run(settings, store)
    assert verify(store)[2] == []
    assert restore(elsewhere(settings, tmp_path / "two"), store, force=True).faults == []
    name = store.path / f"{manifest.FOLDER}{manifest.ids(store)[-1]}.json"
    name.write_bytes(name.read_bytes().replace(b"echo", b"ohce"))
    with pytest.raises(StoreError, match="manifest"):
        verify(store)
    with pytest.raises(StoreError, match="manifest"):
        prune(store, 30, 1, time.time())


def test_a_missing_archive_a_damaged_database_and_no_place_are_told(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    with pytest.raises(StoreError, match="MARINA_BACKUP_DESTINATION"):
        open_store(settings)
    with pytest.raises(StoreError, match="s3://BUCKET"):
        open_store(settings, "ftp://x")
    [copy] = (settings.state_dir / "declared").iterdir()
    kept = copy.read_bytes()
    for path in (copy, settings.archive_store / "echo-1.0.mar", settings.state_dir / "mlflow" / "1" / "echo-1.0.mar"):
        path.unlink()
    with pytest.raises(BackupRunError, match=r"echo 1\.0"):
        run(settings, store)
    copy.write_bytes(kept)
    good = run(settings, store)
    file = settings.state_dir / "marina.db"
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises(CopyError):
        run(settings, store)
    assert manifest.ids(store) == [good.name] and verify(store)[2] == []
    with pytest.raises(CopyError, match="PostgreSQL"):
        restore(elsewhere(settings, tmp_path / "two", "postgresql://nowhere.invalid/x"), store)


def test_two_runs_at_once_are_one(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    with runs._alone(settings), pytest.raises(BackupRunError, match="Another backup"):
        run(settings, store)
    assert isinstance(run(settings, store).manifest, Manifest)


def test_of_hosts_that_share_a_database_one_makes_a_backup(
    tmp_path: Path, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LEASE_S", 0.0)
    monkeypatch.setattr(runs, "RENEW_S", 0.05)
    settings = installation(tmp_path / "one", postgres_server.fresh("leased"))
    database, other = Database(settings.database), Lease(runs.LEASE, "another host")

    class Slow(Folder):
        def put(self, name: str, content: bytes) -> None:
            """Stand still while another host takes over, which has ended when this one goes on."""
            with database.writing() as connection:
                connection.execute(sa.delete(LEASES).where(LEASES.c.name == runs.LEASE))
            time.sleep(0.2)
            super().put(name, content)

    with pytest.raises(BackupRunError, match="stood still"):
        run(settings, Slow(tmp_path / "backups"))
    store = Folder(tmp_path / "backups")
    assert manifest.ids(store) == []
    with database.writing() as connection:
        assert other.take(connection, 0.0)
    with pytest.raises(BackupRunError, match="Another host"):
        run(settings, store)
    with database.writing() as connection:
        other.give_back(connection)
    made = run(settings, store)
    with database.reading() as connection:
        assert connection.execute(sa.select(LEASES.c.holder).where(LEASES.c.name == runs.LEASE)).all() == []
    database.close()
    assert manifest.ids(store) == [made.name] and made.not_deleted == ""


def test_a_damaged_manifest_of_before_keeps_what_is_old_and_costs_no_new_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    first = run(settings, store)
    name = store.path / f"{manifest.FOLDER}{first.name}.json"
    name.write_bytes(name.read_bytes().replace(b"echo", b"ohce"))
    (settings.state_dir / backup_schedule.MARKER).unlink()
    monkeypatch.setattr(backup, "step_aside", lambda nice: None)  # a process does not get its priority back
    for variable, value in environment(settings, store).items():
        monkeypatch.setenv(variable, value)
    status, said = backup.main(["run", "--json"]), capsys.readouterr()
    assert status == step_list.NOT_PRUNED and status in step_list.chore("backup").passed, said.err
    assert first.name in json.loads(said.out)["not_deleted"] and first.name in said.err
    assert (settings.state_dir / backup_schedule.MARKER).exists() and len(manifest.ids(store)) == 2
    database = Database(settings.database)
    with database.reading() as connection:
        rows = connection.execute(sa.select(BACKUPS.c.state, BACKUPS.c.note).order_by(BACKUPS.c.started_at)).all()
        assert [row.state for row in rows] == ["done", "done"]
        assert rows[0].note == "" and first.name in rows[1].note, "the words are kept"
    database.close()
    name.unlink()  # docs/RUNBOOK.md, BackupDamaged
    assert run(settings, store).not_deleted == ""


def test_the_server_starts_one_a_day_where_a_destination_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_schedule, "LOOK_S", 0.0)
    settings = installation(tmp_path / "one", backup_destination=str(tmp_path / "backups"))
    for name in ("state_dir", "archive_store", "backup_destination"):
        monkeypatch.setenv(f"MARINA_{name.upper()}", str(getattr(settings, name)))
    nightly, store, end = backup_schedule.Nightly(settings), Folder(tmp_path / "backups"), time.monotonic() + 60
    while not (settings.state_dir / backup_schedule.MARKER).exists() and time.monotonic() < end:
        nightly.follow()
        time.sleep(0.05)
    for _ in range(20):
        nightly.follow()
        time.sleep(0.05)
    nightly.stop()
    assert len(manifest.ids(store)) == 1 and verify(store)[2] == []
    assert not backup_schedule.Nightly(settings.model_copy(update={"backup_destination": ""}))._commands[1:]

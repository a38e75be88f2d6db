"""Backups of either kind of database, in a folder and in an S3-like service, and restores into an empty machine."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from marina.database import backup_schedule
from marina.database.backup_tables import BACKUPS
from marina.database.connection import Database
from marina.database.half_restored import RESTORING, HalfRestoredError
from marina.database.tables import ALERTS, LABELS, LEASES
from marina.monitoring.backup_metrics import backups_of
from marina.pipelines import step_list
from marina.pipelines.backup import database_copy, manifest, runs
from marina.pipelines.backup.database_copy import CopyError
from marina.pipelines.backup.manifest import Manifest
from marina.pipelines.backup.restore import RestoreError, restore
from marina.pipelines.backup.runs import BackupRunError, prune, run, verify
from marina.pipelines.backup.s3 import S3, sign
from marina.pipelines.backup.stores import Folder, Store, StoreError, open_store
from marina.releases import ledger
from marina.releases.declarations import copy_name, declare, read_archive
from marina.releases.heads import Heads, heads_file, open_database
from marina.releases.lease import Lease
from marina.serving.preflight import check_state_dir
from marina.settings import ROOT, Settings
from scripts import backup, load_data, loop, orchestrator
from tests.postgres import Postgres
from tests.serving import archive

DAY_S = 86_400.0


def installation(folder: Path, url: str = "", **values: Any) -> Settings:
    """Return the settings of an installation in which echo 1.0 was declared, with labels, keys and a registry."""
    settings = Settings(
        state_dir=folder / "state", archive_store=folder / "store", database_url=SecretStr(url), **values
    )
    settings.archive_store.mkdir(parents=True)
    settings.state_dir.mkdir()
    one = read_archive(archive(settings.archive_store))
    (settings.state_dir / "declared").mkdir()
    copy = settings.state_dir / "declared" / copy_name(one.model, one.version, one.sha256)
    copy.write_bytes(one.archive.read_bytes())
    (settings.state_dir / "mlflow" / "1").mkdir(parents=True)
    (settings.state_dir / "mlflow" / "1" / "echo-1.0.mar").write_bytes(one.archive.read_bytes())
    database = open_database(settings)
    database.upgrade()
    with database.writing() as connection:
        declare(connection, one, 1.0)
        ledger.declared(connection, "ann", ["echo"], 1.0)
        label = {"request_id": "a", "instance": 0, "label": 'tab\t"quote"\\N', "time": 1.5}
        connection.execute(sa.insert(LABELS), [label | {"instance": number} for number in range(100)])
    with database.reading() as connection:
        Heads(heads_file(settings)).follow(connection)
    database.close()
    return settings


def elsewhere(settings: Settings, folder: Path, url: str = "") -> Settings:
    return settings.model_copy(
        update={"state_dir": folder / "state", "archive_store": folder / "store", "database_url": type(
            settings.database_url)(url)}
    )  # fmt: skip


def content(settings: Settings) -> tuple[list[Any], list[Any]]:
    database = Database(settings.database)
    with database.reading() as connection:
        rows = [tuple(row) for row in connection.execute(sa.select(LABELS).order_by(LABELS.c.instance))]
        entries = list(ledger.entries(connection))
    database.close()
    return rows, entries


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


ALERT = {
    "model": "m", "version": "1", "kind": "k", "name": "n", "level": "warning", "what": "w", "since": 0.0,
    "effect": 0.0, "evidence": 0.0, "needed": 0.0, "harm": "", "link": "", "opened_at": 0.0, "updated_at": 0.0,
    "state": "open",
}  # fmt: skip


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


def test_a_run_and_a_restore_that_are_killed_cost_nothing_and_continue(tmp_path: Path) -> None:
    settings, store = installation(tmp_path / "one"), Folder(tmp_path / "backups")
    (settings.state_dir / "mlflow" / "large").write_bytes(os.urandom(32 << 20))
    first = run(settings, store)
    (settings.state_dir / "mlflow" / "large").write_bytes(os.urandom(32 << 20))
    env = os.environ | environment(settings, store)
    before = len(store.names(manifest.OBJECTS))
    _kill_when(env, "run", lambda: len(store.names(manifest.OBJECTS)) > before + 2)
    assert manifest.ids(store) == [first.name] and verify(store)[2] == []
    again = run(settings, store)
    assert again.new_bytes < 32 << 20, "it continued with what was copied"
    assert not list(settings.state_dir.glob(".backup-*")) and verify(store)[2] == []

    empty = elsewhere(settings, tmp_path / "two")
    env |= {"MARINA_STATE_DIR": str(empty.state_dir), "MARINA_ARCHIVE_STORE": str(empty.archive_store)}
    _kill_when(env, "restore", (empty.state_dir / "mlflow").exists)
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


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def environment(settings: Settings, store: Folder) -> dict[str, str]:
    return {
        "MARINA_STATE_DIR": str(settings.state_dir), "MARINA_ARCHIVE_STORE": str(settings.archive_store),
        "MARINA_BACKUP_DESTINATION": str(store.path),
    }  # fmt: skip


def _kill_when(env: dict[str, str], what: str, reached: Any) -> None:
    process = subprocess.Popen([sys.executable, str(ROOT / "scripts" / "backup.py"), what], env=env, cwd=ROOT)
    end = time.monotonic() + 60
    while not reached() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL, "it was faster"


class _Service(http.server.BaseHTTPRequestHandler):
    """As much of S3 as a store asks for, with signatures that are computed again and lists of two keys a page."""

    objects: dict[str, bytes] = {}  # noqa: RUF012 - one service at a time

    def _take(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        names = re.findall(r"SignedHeaders=([^,]+)", self.headers["authorization"])[0].split(";")
        digest = hashlib.sha256(body).hexdigest()
        expected = sign(
            self.command, parts.path, parts.query, {name: self.headers[name] for name in names}, digest,
            self.headers["x-amz-date"], "eu-west-3", "access", "secret",
        )  # fmt: skip
        key = unquote(parts.path).removeprefix("/bucket").removeprefix("/")
        if self.headers["authorization"] != expected or self.headers["x-amz-content-sha256"] != digest:
            return self._answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if self.command == "PUT":
            self.objects[key] = body
            return self._answer(200, b"")
        if self.command == "DELETE":
            self.objects.pop(key, None)
            return self._answer(204, b"")
        if not key:
            return self._answer(200, self._page(parse_qs(parts.query)))
        if key not in self.objects:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._answer(200, self.objects[key])

    def _page(self, asked: dict[str, list[str]]) -> bytes:
        after = asked.get("continuation-token", [""])[0]
        keys = [key for key in sorted(self.objects) if key.startswith(asked["prefix"][0]) and key > after]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-23T01:30:00.000Z</LastModified></Contents>"
            for key in keys[:2]
        )
        more = f"<NextContinuationToken>{keys[1]}</NextContinuationToken>" if len(keys) > 2 else ""
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        return f"<ListBucketResult {space}>{rows}{more}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _take

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def service() -> Iterator[str]:
    _Service.objects = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_store_in_an_s3_like_service_does_what_a_folder_does(tmp_path: Path) -> None:
    with service() as endpoint:
        settings = installation(
            tmp_path / "one", backup_endpoint=endpoint, backup_region="eu-west-3", backup_access_key="access",
            backup_secret_key="secret", backup_destination="s3://bucket/marina of ours",
        )  # fmt: skip
        store: Store = open_store(settings)
        assert isinstance(store, S3)
        first = run(settings, store)
        second = run(settings, store)
        assert manifest.ids(store) == [first.name, second.name] and second.new_bytes < first.new_bytes
        assert verify(store)[2] == []
        assert restore(elsewhere(settings, tmp_path / "two"), store).faults == []
        assert prune(store, 0.0, 1, time.time() + DAY_S) == [first.name]
        assert verify(store)[2] == []
        wrong = settings.model_copy(update={"backup_secret_key": type(settings.backup_secret_key)("other")})
        with pytest.raises(StoreError, match=r"403: .*SignatureDoesNotMatch"):
            manifest.ids(open_store(wrong))
    with pytest.raises(StoreError, match="cannot be reached"):
        manifest.ids(store)


def test_a_signature_is_the_one_of_amazons_example() -> None:
    """GET of an object, from docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    empty = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9", "x-amz-content-sha256": empty,
        "x-amz-date": "20130524T000000Z",
    }  # fmt: skip
    access, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    found = sign("GET", "/test.txt", "", headers, empty, "20130524T000000Z", "us-east-1", access, secret)
    assert found.endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


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

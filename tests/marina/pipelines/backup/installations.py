"""Installations that are backed up and restored, for tests, and programs that are killed at it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from marina.database.connection import Database
from marina.database.tables import LABELS
from marina.pipelines.backup.stores import Folder
from marina.releases import ledger
from marina.releases.declarations import copy_name, declare, read_archive
from marina.releases.heads import Heads, heads_file, open_database
from marina.settings import ROOT, Settings
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


def environment(settings: Settings, store: Folder) -> dict[str, str]:
    return {
        "MARINA_STATE_DIR": str(settings.state_dir), "MARINA_ARCHIVE_STORE": str(settings.archive_store),
        "MARINA_BACKUP_DESTINATION": str(store.path),
    }  # fmt: skip


def kill_when(env: dict[str, str], what: str, reached: Any) -> None:
    process = subprocess.Popen([sys.executable, str(ROOT / "scripts" / "backup.py"), what], env=env, cwd=ROOT)
    end = time.monotonic() + 60
    while not reached() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL, "it was faster"

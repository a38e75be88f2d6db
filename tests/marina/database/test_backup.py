import os
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from marina.database import backup
from marina.database.backup import BackupError, back_up, copy_of, due, file_of
from marina.database.connection import Database
from marina.database.tables import LABELS
from marina.settings import Settings

LABEL = {"request_id": "a", "instance": 0, "label": "hello", "time": 1.5}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    with database.writing() as connection:
        connection.execute(sa.insert(LABELS), [LABEL | {"instance": number} for number in range(1000)])
    database.close()
    return tmp_path / "marina.db"


def count(file: Path) -> int:
    connection = sqlite3.connect(file)
    found = connection.execute("SELECT count(*) FROM labels").fetchone()[0]
    connection.close()
    return int(found)


def test_a_copy_is_whole_private_and_made_while_others_write(file: Path) -> None:
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM labels")
    assert back_up(file) == copy_of(file).stat().st_size > 0
    writer.execute("COMMIT")
    writer.close()
    assert (count(copy_of(file)), count(file)) == (1000, 0)
    assert copy_of(file).stat().st_mode & 0o777 == 0o600


def test_a_damaged_database_or_a_lack_of_room_does_not_cost_the_last_copy(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(file)
    with monkeypatch.context() as scarce:
        scarce.setattr(backup, "SPARE", 10**12)
        with pytest.raises(BackupError, match="MB left"):
            back_up(file)
    content = file.read_bytes()
    file.write_bytes(content[:8192] + os.urandom(len(content) - 8192))
    with pytest.raises(BackupError, match="kept"):
        back_up(file)
    assert count(copy_of(file)) == 1000
    assert sorted(one.name for one in file.parent.iterdir() if "backup" in one.name) == ["marina.db.backup"]


@pytest.mark.parametrize("name", ["a#b", "a?mode=memory", "%41", "two words"])
def test_a_copy_is_of_the_database_whatever_its_folder_is_called(file: Path, name: str) -> None:
    folder = file.parent / name
    folder.mkdir()
    moved = file.rename(folder / file.name)
    assert back_up(moved) == copy_of(moved).stat().st_size
    assert count(copy_of(moved)) == 1000


def test_an_empty_database_does_not_cost_the_last_copy(file: Path) -> None:
    back_up(file)
    file.write_bytes(b"")
    with pytest.raises(BackupError, match="none of Marina's tables"):
        back_up(file)
    assert count(copy_of(file)) == 1000


def test_making_a_copy_leaves_a_restore_that_is_under_way_alone(file: Path) -> None:
    half = file.with_name("marina.db.new")  # docs/OPERATIONS.md: what is copied there is then moved into place
    half.write_bytes(b"half")
    back_up(file)
    assert half.read_bytes() == b"half"


def test_a_copy_is_due_once_a_day_whatever_the_clock_does(file: Path) -> None:
    now = time.time()
    assert due(file, now)
    back_up(file)
    assert not due(file, now + 3600)
    assert due(file, now + 90_000) and due(file, now - 8_640_000)


def test_only_an_sqlite_file_is_copied(tmp_path: Path) -> None:
    assert file_of(Settings(state_dir=tmp_path)) == tmp_path / "marina.db"
    assert file_of(Settings(database_url=SecretStr("postgresql://somewhere/marina"))) is None

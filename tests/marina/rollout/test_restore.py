"""What a start serves."""

import json
import os
import re
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from archives.certificate import zip_entry
from archives.signatures import ANYBODY, Trust
from marina.database.connection import Database, DatabaseError
from marina.database.tables import DECLARATIONS, LABEL_SETS
from marina.releases.declarations import Declaration, DeclarationError, Declared, read_archive
from marina.rollout import restore
from marina.rollout.restore import choose_start_versions, offered
from marina.settings import Settings
from tests.serving import archive


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    store = tmp_path / "store"
    store.mkdir()
    return Settings(state_dir=tmp_path / "state", archive_store=store)


def start(settings: Settings, *archives: Path) -> list[str]:
    """Begin as a server does that then notes what is declared; return the versions."""
    settings.state_dir.mkdir(exist_ok=True)
    declaration = Declaration(settings.state_dir / "declared")
    found = choose_start_versions(settings, declaration, [read_archive(path) for path in archives]).declared
    declaration.note(found)
    return sorted(map(str, found))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def listed(path: Path) -> None:
    members = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    with zipfile.ZipFile(path, "w") as content:
        for name, member in (members | {"MAR-INF/MANIFEST.json": b"[]"}).items():
            content.writestr(name, member)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def misnamed(path: Path) -> None:
    path.rename(path.with_name(f"{path.stem} (copy).mar"))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


ODD: list[Callable[[Path], object]] = [
    half,
    listed,
    folder,
    fifo,
    dangling,
    misnamed,
    lambda path: path.write_bytes(b""),
]


@pytest.mark.parametrize("spoil", ODD)
@pytest.mark.timeout(60)
def test_whatever_lies_in_the_store_what_is_declared_starts_and_the_rest_is_said_once(
    settings: Settings, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    store = settings.archive_store
    archive(store)
    assert start(settings) == ["echo 1.0"]
    archive(store, "other", "1.0")
    spoil(archive(store, "other", "2.0"))
    spoil(archive(store, "third", "1.0"))
    capsys.readouterr()
    assert start(settings) == ["echo 1.0", "other 1.0"]  # the newest that can be read
    said = capsys.readouterr().out
    assert said.count("other-2.0") == said.count("third-1.0") == 1
    assert start(settings) == ["echo 1.0", "other 1.0"]


def manifest(path: Path) -> None:
    """Write an archive as torch-model-archiver does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        model = {"modelName": "densenet161", "serializedFile": "model.pth", "handler": "image_classifier"}
        content.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
        content.writestr("model.pth", b"\x80\x02}q\x00.")


def renamed_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("holidays/photo.jpg", b"JFIF")


def format_9(path: Path) -> None:
    made = archive(path.parent / "elsewhere")
    members = {name: zipfile.ZipFile(made).read(name) for name in zipfile.ZipFile(made).namelist()}
    contract = json.loads(members["contract.json"]) | {"format": 9}
    with zipfile.ZipFile(path, "w") as content:
        for name, member in sorted((members | {"contract.json": json.dumps(contract).encode()}).items()):
            content.writestr(zip_entry(name), member)


MOVE = "move it out of the store"
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "torch-model-archiver": (manifest, "torch-model-archiver .* convert it: .*ADD_A_FAMILY.* move it out of the store"),
    "a zip renamed": (renamed_zip, f"holds no model .*{MOVE}"),
    "empty": (lambda path: path.write_bytes(b""), f"is empty: .*{MOVE}"),
    "text": (lambda path: path.write_text("model: densenet161\n"), f"is no zip file, .*{MOVE}"),
    "a directory": (lambda path: path.mkdir(), f"is no file: {MOVE}"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), f"is no file: {MOVE}"),
    "another format": (format_9, "densenet161"),
}


@pytest.mark.parametrize("name", ["densenet161.mar", "densenet161-1.0.mar", "été (1).mar"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_archive_is_passed_over_with_words_on_what_to_do(
    settings: Settings, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = FOREIGN[kind]
    archive(settings.archive_store)
    make(settings.archive_store / name)
    assert start(settings) == ["echo 1.0"]
    said = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert len(said) == 1 and said[0].count(name) == 1
    if kind != "another format":
        assert re.search(words, said[0])


def test_an_archive_of_another_format_says_how_it_can_be_served(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(settings.archive_store)
    format_9(settings.archive_store / "echo-2.0.mar")
    assert start(settings) == ["echo 1.0"]
    assert re.search(r"format 9, this code reads \[1\]; serve it with the release that built", capsys.readouterr().out)


def test_classes_of_declared_versions_are_kept_also_of_those_from_before_they_were(settings: Settings) -> None:
    archive(settings.archive_store)
    start(settings)
    database = Database(settings.database)

    def kept() -> list[tuple[str, str, str]]:
        table = LABEL_SETS.c
        with database.reading() as connection:
            return [(*row,) for row in connection.execute(sa.select(table.model, table.labels, table.truth))]

    assert kept() == [("echo", "[]", "label")]
    for before in (sa.delete(LABEL_SETS), sa.update(LABEL_SETS).values(truth="")):
        with database.writing() as connection:
            connection.execute(before)
        start(settings)
        assert kept() == [("echo", "[]", "label")]
    database.close()


def test_a_store_of_which_nothing_may_run_is_not_called_empty(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeclarationError, match=r"no archive in .*: build one"):
        start(settings)
    archive(settings.archive_store)
    nobody = Declaration(settings.state_dir / "declared", Trust.read(settings.signers_dir, "refuse"))
    with pytest.raises(DeclarationError, match=r"no archive in .* that may run here"):
        choose_start_versions(settings, nobody, [])
    assert "skipped: echo" in capsys.readouterr().out


def test_an_archive_that_may_not_be_read_is_passed_over(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = settings.archive_store
    archive(store)
    archive(store, "secret")

    def read(path: Path, trust: Trust) -> Declared:
        if "secret" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return read_archive(path, trust=trust)

    monkeypatch.setattr(restore, "read_archive", read)
    assert [str(one) for one in offered(store, ANYBODY)] == ["echo 1.0"]


def test_a_database_that_cannot_be_used_leaves_what_was_served_last(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = archive(tmp_path)
    assert start(settings, one) == ["echo 1.0"]
    file = settings.state_dir / "marina.db"
    for content in (b"garbage" * 10_000, file.read_bytes()[:100] + b"\0" * 50_000):
        file.write_bytes(content)
        capsys.readouterr()
        found = choose_start_versions(settings, Declaration(settings.state_dir / "declared"), [])
        assert ([str(one) for one in found.declared], found.upgraded) == (["echo 1.0"], False)
        assert "THE DATABASE CANNOT BE USED" in capsys.readouterr().out
        with pytest.raises(DatabaseError, match="without --archive"):
            start(settings, one)
    assert file.read_bytes()[100:200] == b"\0" * 100  # it is left as it is


def test_damage_that_leaves_the_declaration_readable_is_said(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(settings, archive(tmp_path))
    file = settings.state_dir / "marina.db"
    database = Database(settings.database)
    with database.reading() as connection:
        root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'labels'").scalar_one()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    database.close()
    content = bytearray(file.read_bytes())
    content[(root - 1) * size : root * size] = b"\7" * size
    file.write_bytes(content)
    assert start(settings) == ["echo 1.0"]
    assert "THE DATABASE IS DAMAGED" in capsys.readouterr().out


def test_a_locked_database_is_not_waited_for_for_long(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "WAIT_MS", 200)
    start(settings, archive(tmp_path))
    holder = sqlite3.connect(settings.state_dir / "marina.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert start(settings) == ["echo 1.0"]
    holder.close()


def test_a_database_that_hangs_is_not_waited_for(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(settings, archive(tmp_path))
    over = threading.Event()
    monkeypatch.setattr(restore, "PATIENCE_S", 0.2)
    monkeypatch.setattr(Database, "upgrade", lambda _: over.wait(30))
    assert start(settings) == ["echo 1.0"]
    over.set()


def test_an_empty_database_is_told_what_was_served_last_with_its_shares(settings: Settings, tmp_path: Path) -> None:
    start(settings, archive(tmp_path), archive(tmp_path, version="2.0"))
    database = Database(settings.database)
    with database.writing() as connection:
        connection.execute(sa.update(DECLARATIONS).where(DECLARATIONS.c.version == "2.0").values(weight=0.25))
    database.close()
    start(settings)
    (settings.state_dir / "marina.db").unlink()
    assert start(settings) == ["echo 1.0", "echo 2.0"]
    with database.reading() as connection:
        weights = dict(connection.execute(sa.select(DECLARATIONS.c.version, DECLARATIONS.c.weight)).all())
    assert weights == {"1.0": 1.0, "2.0": 0.25}
    database.close()


def test_nothing_is_served_where_nothing_is_known(settings: Settings) -> None:
    settings.state_dir.mkdir()
    (settings.state_dir / "marina.db").write_bytes(b"garbage" * 10_000)
    with pytest.raises(DatabaseError, match="Repair it first"):
        start(settings)
    note = settings.state_dir / "declared" / "declaration.json"
    note.write_text(json.dumps({"declared": []}))
    with pytest.raises(DatabaseError, match="Repair it first"):
        start(settings)

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archives.archive import open_archive
from archives.keys import own_key
from archives.signatures import Trust, sign, signature_path
from marina.database.connection import Database
from marina.releases import ledger
from marina.releases.declarations import Declaration, DeclarationError, Serving, digest, read_archive
from tests.archives.rewrite import recertified, rewritten
from tests.serving import archive


@pytest.fixture
def declaration(tmp_path: Path) -> Declaration:
    return Declaration(tmp_path / "declared")


def test_an_archive_says_how_it_wants_to_be_served(tmp_path: Path) -> None:
    config = {"batchSize": 16, "maxBatchDelay": 5, "minWorkers": 2, "maxWorkers": 2, "startupTimeout": 30}
    read = read_archive(archive(tmp_path, "m", "1.2", config=config))
    assert (read.model, read.version) == ("m", "1.2")
    assert read.serving == Serving(16, 5, 2, 120, 30)


@pytest.mark.parametrize(
    "config", [{"batchSize": 0}, {"minWorkers": "two"}, {"maxBatchDelay": -1}, {"batchSize": True}]
)
def test_a_model_config_that_means_nothing_is_refused_with_its_key(tmp_path: Path, config: dict[str, object]) -> None:
    honest = archive(tmp_path)
    asked = {**open_archive(honest).serving, **config}
    with pytest.raises(DeclarationError, match=next(iter(config))):
        read_archive(recertified(honest, honest, {"model-config.yaml": json.dumps(asked).encode()}))


def test_an_archive_that_the_linter_refuses_is_not_read(tmp_path: Path) -> None:
    honest = archive(tmp_path)
    with pytest.raises(DeclarationError, match=r"service\.py: altered after certification"):
        read_archive(rewritten(honest, honest, {"service.py": b""}))


def test_an_archive_under_the_name_of_another_is_not_read(tmp_path: Path) -> None:
    other = archive(tmp_path).rename(tmp_path / "echo-2.0.mar")
    with pytest.raises(DeclarationError, match=r"is echo 1\.0: an archive keeps its name, echo-1\.0\.mar"):
        read_archive(other)


def test_what_was_declared_comes_back_after_the_file_is_gone(tmp_path: Path, database: Database) -> None:
    path = archive(tmp_path)
    with database.writing() as connection:
        Declaration(tmp_path / "declared").replace(connection, [read_archive(path)])
    path.unlink()
    again = Declaration(tmp_path / "declared")
    with database.reading() as connection:
        (found,) = map(again.fetch, again.read(connection))
    assert (found.model, found.version, found.archive.parent) == ("echo", "1.0", tmp_path / "declared")
    assert found.archive.exists()


def test_a_declaration_replaces_the_last_one_or_adds_to_it(
    tmp_path: Path, database: Database, declaration: Declaration
) -> None:
    with database.writing() as connection:
        for version in ("1.0", "2.0"):
            declaration.replace(connection, [read_archive(archive(tmp_path, version=version))])
        declaration.forget_others(declaration.read(connection))
        assert [one.version for one in declaration.read(connection)] == ["2.0"]
        assert len(list((tmp_path / "declared").glob("*.mar"))) == 1
        declaration.add(connection, [read_archive(archive(tmp_path, version="3.0"))])
        assert [one.version for one in declaration.read(connection)] == ["3.0", "2.0"]  # the newest first
        assert ledger.live_at(connection, time.time()) == {"echo": {"2.0": 1.0, "3.0": 1.0}}


def test_one_version_with_two_archives_is_refused(tmp_path: Path, database: Database, declaration: Declaration) -> None:
    (tmp_path / "other").mkdir()
    twins = [read_archive(archive(tmp_path)), read_archive(archive(tmp_path / "other", config={"batchSize": 2}))]
    with pytest.raises(DeclarationError, match="a version has one archive"), database.writing() as connection:
        declaration.replace(connection, twins)


def changed(copy: Path) -> None:
    assert recertified(copy, copy, {"service.py": b"import os"}) == copy


def cut(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-100])


def turned_into_a_folder(copy: Path) -> None:
    copy.unlink()
    copy.mkdir()


@pytest.mark.parametrize("damage", [changed, cut, Path.unlink, turned_into_a_folder])
def test_a_damaged_copy_is_made_again_while_its_source_is_what_was_declared(
    tmp_path: Path, declaration: Declaration, damage: Callable[[Path], object]
) -> None:
    one = read_archive(archive(tmp_path))
    copy = declaration.fetch(one).archive
    damage(copy)
    if damage is turned_into_a_folder:
        with pytest.raises(DeclarationError, match="damaged"):
            declaration.fetch(one)
        return
    assert declaration.fetch(one).archive == copy
    assert digest(copy) == one.sha256
    damage(copy)
    archive(tmp_path, config={"batchSize": 3})  # built again, under the same name
    with pytest.raises(DeclarationError, match="no longer what was declared"):
        declaration.fetch(one)


def test_a_copy_keeps_its_signature_and_is_verified_at_each_start(tmp_path: Path, database: Database) -> None:
    key = own_key(tmp_path / "signing.key", tmp_path / "keys")
    path = archive(tmp_path)
    signature_path(path).write_bytes(sign(open_archive(path), key))
    trust = Trust.read(tmp_path / "keys", "refuse")
    declaration = Declaration(tmp_path / "declared", trust)
    with database.writing() as connection:
        declaration.replace(connection, [read_archive(path, trust=trust)])
        (one,) = declaration.read(connection)
        (entry,) = ledger.entries(connection)
    assert one.signed_by == entry.live["1.0"]["signed_by"] == key.id
    path.unlink()
    signature_path(path).unlink()
    assert declaration.fetch(one).signed_by == key.id
    (tmp_path / "keys" / "revoked").write_text(key.id)
    later = Declaration(tmp_path / "declared", Trust.read(tmp_path / "keys", "refuse"))
    with pytest.raises(DeclarationError, match="was revoked"):
        later.fetch(one)
    declaration.forget_others([])
    assert list((tmp_path / "declared").iterdir()) == []


def test_a_copy_without_its_signature_is_not_served(tmp_path: Path, database: Database) -> None:
    with database.writing() as connection:
        Declaration(tmp_path / "declared").replace(connection, [read_archive(archive(tmp_path))])
        strict = Declaration(tmp_path / "declared", Trust())
        (one,) = strict.read(connection)
    with pytest.raises(DeclarationError, match="is not signed"):
        strict.fetch(one)


def test_what_is_declared_is_noted_and_a_note_that_cannot_be_read_is_named(
    tmp_path: Path, declaration: Declaration
) -> None:
    assert declaration.noted() == []
    declared = [
        dataclasses.replace(
            read_archive(archive(tmp_path, version=version)),
            weight=weight,
            serving=Serving(),
            example=b"",
            labels=None,
            truth="",
        )
        for version, weight in (("2.0", 5.0), ("1.0", 95.0))
    ]
    declaration.note(declared)
    assert Declaration(tmp_path / "declared").noted() == declared
    (note,) = (tmp_path / "declared").glob("*.json")
    for content in ("", "[]", '{"declared": [{}]}', '{"declared": 3}', note.read_text().replace("echo", "../x")):
        note.write_text(content)
        with pytest.raises(DeclarationError, match=note.name):
            declaration.noted()

import time
from pathlib import Path

import pytest

from events.database import Database
from rollout import ledger
from rollout.declaration import Declaration, DeclarationError, Serving, read_archive
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
    with pytest.raises(DeclarationError, match=next(iter(config))):
        read_archive(archive(tmp_path, config=config))


def test_a_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="letters, digits"):
        read_archive(archive(tmp_path, model="two words"))


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


def test_a_copy_that_was_changed_is_not_served(tmp_path: Path, database: Database, declaration: Declaration) -> None:
    with database.writing() as connection:
        declaration.replace(connection, [read_archive(archive(tmp_path))])
        (one,) = declaration.read(connection)
    (copy,) = (tmp_path / "declared").glob("*.mar")
    archive(tmp_path / "declared", config={"batchSize": 2}).replace(copy)
    with pytest.raises(DeclarationError, match="SHA-256"):
        declaration.fetch(one)

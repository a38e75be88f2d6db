from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from tests import postgres, redis

if TYPE_CHECKING:  # torch and its like take eight seconds, which tests of other rooms need not wait for
    from training.signflow.recipe import Trained

os.environ.setdefault("MARINA_UNSIGNED", "allow")  # tests of signatures say otherwise


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small network with random weights."""
    from tests.families.signflow import made_up

    return made_up()


@pytest.fixture(scope="session")
def signflow_archive(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built archive, signflow 1.0."""
    from training.packaging.archive import build
    from training.signflow.release import release

    return build(release(trained, "1.0"), tmp_path_factory.mktemp("store")).path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server for the whole run."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.Redis]:
    """A Redis server for the whole run; who kills it runs one of its own."""
    if why := redis.missing():
        pytest.skip(why)
    with redis.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/marina.db"
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    return server.fresh(f"t{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables, to be copied: every migration takes much longer."""
    path = tmp_path_factory.mktemp("tables") / "marina.db"
    _upgraded(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def template(postgres_server: postgres.Postgres) -> str:
    """The name of a PostgreSQL database with the tables, to be copied."""
    name = "tables"
    _upgraded(postgres_server.fresh(name)).close()
    return name


@pytest.fixture
def database(request: pytest.FixtureRequest, database_url: str) -> Iterator[Database]:
    """A database of either kind, with its tables."""
    file = sa.make_url(database_url).database
    if database_url.startswith("sqlite"):
        shutil.copy(request.getfixturevalue("empty_tables"), str(file))
    else:
        server: postgres.Postgres = request.getfixturevalue("postgres_server")
        server.copy(request.getfixturevalue("template"), str(file))
    made = Database(database_url)
    yield made
    made.close()


def _upgraded(url: str) -> Database:
    made = Database(url)
    made.upgrade()
    return made

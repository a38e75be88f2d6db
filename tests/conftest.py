from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from marina.database.connection import Database
from tests import databases, postgres, redis

if TYPE_CHECKING:  # torch and its like take eight seconds, which tests of other rooms need not wait for
    from training.signflow.recipe import Trained

os.environ.setdefault("MARINA_UNSIGNED", "allow")  # tests of signatures say otherwise
# What Java's second compiler makes faster runs longer than a test; compiling it takes a third of a start's time.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session", autouse=True)
def _shared_by_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Name a folder that all processes of this run share, those that tests start among them."""
    own = tmp_path_factory.getbasetemp()
    os.environ["SHARED_BY_TESTS"] = str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small network with random weights."""
    from tests.families.signflow import made_up

    return made_up()


@pytest.fixture(scope="session")
def signflow_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built archive, signflow 1.0."""
    from tests.families.signflow import releases
    from training.packaging.archive import build

    return build(releases()["signflow"], tmp_path_factory.mktemp("store")).path


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
    """A database of either kind: empty, unless `database` is asked for, too."""
    with_tables = "database" in request.fixturenames
    if request.param == "sqlite":
        return databases.sqlite_with_tables(tmp_path) if with_tables else f"sqlite:///{tmp_path}/marina.db"
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    name = f"t{uuid.uuid4().hex}"
    return databases.postgres_with_tables(server, name) if with_tables else server.fresh(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of either kind, with its tables."""
    made = Database(database_url)
    yield made
    made.close()

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.database import Database
from tests import postgres
from tests.families.signflow import made_up
from training.archive import build
from training.signflow import Trained
from training.signflow_release import release


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small network with random weights."""
    return made_up()


@pytest.fixture(scope="session")
def signflow_archive(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built archive, signflow 1.0."""
    return build(release(trained, "1.0"), tmp_path_factory.mktemp("store")).path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL server for the whole run."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/marina.db"
    server: postgres.Postgres = request.getfixturevalue("postgres_server")
    return server.fresh(f"t{uuid.uuid4().hex}")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of either kind, with its tables."""
    made = Database(database_url)
    made.upgrade()
    yield made
    made.close()

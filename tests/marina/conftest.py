import os
from collections.abc import Iterator

import pytest

from marina.database.connection import Database
from tests.marina.rollout.releases import Releases, serve
from tests.serving import Server, archive, running


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """What a test does in this process, as a server does in its own, leaves the next one's files as they were to be."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it as they found it: echo 1.0 (one worker) and echo 2.0."""
    folder = tmp_path_factory.mktemp("archives")
    archives = [archive(folder, version=version) for version in ("1.0", "2.0")]
    with running(archives, {"request_timeout_s": 30, "body_timeout_s": 2, "job_queue_size": 8}) as server:
        yield server


@pytest.fixture
def releases(database: Database) -> Releases:
    """A controller over a database in which sums 1.0 is served."""
    serve(database)
    return Releases(database)

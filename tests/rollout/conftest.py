from collections.abc import Iterator

import pytest

from events.database import Database
from tests.rollout.releases import Releases, serve
from tests.serving import Server, archive, running


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

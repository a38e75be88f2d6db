import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.batching import Batching
from rollout.declaration import Declared, Serving, read_archive
from rollout.fleet import Fleet, FleetError
from tests.serving import Server


@pytest.fixture
def fleet(server: Server) -> Iterator[Fleet]:
    fleet = Fleet(server.run_dir / "management.sock", Batching(None, 0), server.log_dir / "workers.log")
    yield fleet
    fleet.close()


def declared(server: Server, version: str) -> Declared:
    (path,) = (server.state_dir / "declared").glob(f"echo-{version}-*.mar")
    return read_archive(path)


def test_registering_again_changes_nothing(server: Server, fleet: Fleet) -> None:
    one = declared(server, "1.0")
    before = fleet.status(one)
    fleet.register(one)
    assert fleet.status(one) == before
    assert (before.state, before.workers, before.ready_workers, len(before.pids)) == ("ready", 1, 1, 1)


def test_other_values_than_the_archive_asks_for_are_reported(server: Server, fleet: Fleet) -> None:
    one = declared(server, "1.0")
    asked = dataclasses.replace(one, serving=dataclasses.replace(one.serving, batch_size=4))
    with pytest.raises(FleetError, match=r"batchSize 8 \(asked: 4\)"):
        fleet.register(asked)


def test_a_registration_that_fails_leaves_nothing_and_says_why(fleet: Fleet) -> None:
    ghost = Declared("ghost", "1.0", Path("ghost-1.0.mar"), "0" * 64, serving=Serving())
    with pytest.raises(FleetError, match="404 Model not found"):
        fleet.register(ghost)
    assert fleet.status(ghost).state == "absent"


@pytest.mark.parametrize("version", ["1.0", "2.0"])  # one of them is TorchServe's default
def test_a_version_is_removed_and_as_it_is_declared_comes_back(server: Server, fleet: Fleet, version: str) -> None:
    one = declared(server, version)
    fleet.remove(one)
    end = time.monotonic() + 120
    while (answer := httpx.post(f"{server.url}/predictions/echo/{version}", json={}, timeout=60)).status_code != 200:
        assert (answer.status_code, time.monotonic() < end) == (503, True)
        time.sleep(0.2)
    server.wait()

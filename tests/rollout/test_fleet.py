import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def test_a_version_is_removed_only_after_its_requests_are_answered(server: Server, fleet: Fleet) -> None:
    one = declared(server, "2.0")

    def ask(_: int) -> int:
        return httpx.post(f"{server.url}/predictions/echo/2.0", json={"sleep_s": 1}, timeout=60).status_code

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, number) for number in range(6)]
        time.sleep(0.3)
        with pytest.raises(FleetError, match="still wait"):
            fleet.drain_and_remove(one, lambda: sum(not future.done() for future in asked), timeout_s=0.1)
        fleet.drain_and_remove(one, lambda: sum(not future.done() for future in asked), timeout_s=60)
        assert [future.result() for future in asked] == [200] * 6
    end = time.monotonic() + 120  # it is declared, so the supervisor brings it back
    while (answer := httpx.post(f"{server.url}/predictions/echo/2.0", json={}, timeout=60)).status_code != 200:
        assert (answer.status_code, time.monotonic() < end) == (503, True)
        time.sleep(0.2)
    server.wait()

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from marina.releases.declarations import Declared, Serving, read_archive
from marina.serving.torchserve_client import CHANGE_S, LOOK_S, TorchServeClient, TorchServeError
from tests.serving import Server


@pytest.fixture
def client(server: Server) -> Iterator[TorchServeClient]:
    client = TorchServeClient(server.run_dir / "management.sock", 0, server.log_dir / "workers.log")
    yield client
    client.close()


def declared(server: Server, version: str) -> Declared:
    (path,) = (server.state_dir / "declared").glob(f"echo-{version}-*.mar")
    return read_archive(path)


def test_a_look_is_given_up_sooner_than_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: dict[str, set[float]] = {}

    def answer(_: httpx.HTTPTransport, asked: httpx.Request) -> httpx.Response:
        waited.setdefault(asked.method, set()).add(asked.extensions["timeout"]["read"])
        described = [{"modelVersion": "2.0", "workers": []}]
        return httpx.Response(403 if asked.method == "DELETE" else 200, json=described)

    monkeypatch.setattr("httpx.HTTPTransport.handle_request", answer)
    client, one = (
        TorchServeClient(Path("none"), 0, Path("none")),
        Declared("echo", "1.0", Path("echo-1.0.mar"), "0" * 64),
    )
    client.status(one)
    client.revive(one)
    with pytest.raises(TorchServeError):
        client.remove(one)
    client.close()
    assert waited == {"GET": {LOOK_S}, "PUT": {CHANGE_S}, "DELETE": {CHANGE_S}}
    assert LOOK_S <= 5 < CHANGE_S


def test_registering_again_changes_nothing(server: Server, client: TorchServeClient) -> None:
    one = declared(server, "1.0")
    before = client.status(one)
    client.register(one)
    assert client.status(one) == before
    assert (before.state, before.workers, before.ready_workers, len(before.pids)) == ("ready", 1, 1, 1)


def test_other_values_than_the_archive_asks_for_are_reported(server: Server, client: TorchServeClient) -> None:
    one = declared(server, "1.0")
    asked = dataclasses.replace(one, serving=dataclasses.replace(one.serving, batch_size=4))
    with pytest.raises(TorchServeError, match=r"batchSize 8 \(asked: 4\)"):
        client.register(asked)


def test_a_registration_that_fails_leaves_nothing_and_says_why(client: TorchServeClient) -> None:
    ghost = Declared("ghost", "1.0", Path("ghost-1.0.mar"), "0" * 64, serving=Serving())
    with pytest.raises(TorchServeError, match="404 Model not found"):
        client.register(ghost)
    assert client.status(ghost).state == "absent"


@pytest.mark.parametrize("version", ["1.0", "2.0"])  # one of them is TorchServe's default
def test_a_version_is_removed_and_as_it_is_declared_comes_back(
    server: Server, client: TorchServeClient, version: str
) -> None:
    one = declared(server, version)
    client.remove(one)
    end = time.monotonic() + 120
    while (answer := httpx.post(f"{server.url}/predictions/echo/{version}", json={}, timeout=60)).status_code != 200:
        assert (answer.status_code, time.monotonic() < end) == (503, True)
        time.sleep(0.2)
    server.wait()

"""The split, by real nginx, without a model server: nothing is open, so each answer is a 503 that names its version."""

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from scipy import stats

from rollout.gateway import find_nginx, render
from rollout.load import drive, request
from rollout.routes import PARTS, Routes, divide
from rollout.torchserve import RunDir
from settings import Settings
from tests.serving import free_ports


@dataclass
class Gateway:
    routes: Routes
    client: httpx.Client
    log: Path
    process: subprocess.Popen[bytes]

    def version(self, user: int) -> str:
        answer = self.client.post("/predictions/m", headers={"X-User-Id": f"user-{user}"})
        assert answer.status_code == 503
        return answer.headers["x-model-version"]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    inference, management, metrics = free_ports(3)
    settings = Settings(
        inference_port=inference, management_port=management, metrics_port=metrics, state_dir=tmp_path / "state"
    )
    settings.log_dir.mkdir(parents=True)
    config = tmp_path / "nginx.conf"
    config.write_text(render(settings, "a-management-token", RunDir(tmp_path)))
    routes = Routes(tmp_path)
    nginx = find_nginx(settings)
    process = subprocess.Popen([nginx, "-c", config, "-p", tmp_path])
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.inference_port}") as client:
        for _ in range(100):
            try:
                client.get("/ping")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield Gateway(routes, client, settings.log_dir / "access.jsonl", process)
    process.terminate()
    process.wait()


def test_parts_are_divided_by_weight_and_the_first_version_grows_from_its_start() -> None:
    assert divide([("2", 5), ("1", 95)]) == ["2"] * 50 + ["1"] * 950
    assert divide([("2", 1), ("1", 1), ("0", 0)]) == ["2"] * 500 + ["1"] * 500
    assert divide([("3", 1), ("2", 1), ("1", 1)]) == ["3"] * 333 + ["2"] * 334 + ["1"] * 333
    assert divide([("1", 0.2)]) == ["1"] * PARTS
    assert divide([("1", 0)]) == divide([]) == []


@pytest.mark.parametrize(("model", "version"), [("a b", "1"), ("..", "1"), ("m", "1;"), ("m", ""), ("m", "../x")])
def test_a_name_that_is_no_name_makes_no_folder(tmp_path: Path, model: str, version: str) -> None:
    with pytest.raises(ValueError, match="expected letters"):
        Routes(tmp_path).declare(model, version)


def test_a_hundred_thousand_requests_are_divided_within_binomial_bounds(gateway: Gateway) -> None:
    versions = {"2.0": 0.05, "1.0": 0.75, "3.0-rc.1": 0.2}
    for version in versions:
        gateway.routes.declare("m", version)
    gateway.routes.share("m", list(versions.items()))
    sent = 0
    while sent < 100_000:
        latencies, _, _ = asyncio.run(drive(str(gateway.client.base_url), [request("/predictions/m", b"{}")], 8, 1.0))
        sent += len(latencies)
    lines: list[str] = []
    end = time.monotonic() + 20
    while len(lines) < sent and time.monotonic() < end:  # nginx writes its lines within the second
        time.sleep(0.5)
        lines = [line for line in gateway.log.read_text().splitlines() if '"model":"m"' in line]
    share = Counter(json.loads(line)["version"] for line in lines)
    assert sum(share.values()) == sent
    for version, expected in versions.items():
        assert stats.binomtest(share[version], sent, expected).pvalue > 1e-4, share


def test_a_client_keeps_its_version_within_a_step_and_the_canary_as_it_grows(gateway: Gateway) -> None:
    for version in ("1.0", "2.0"):
        gateway.routes.declare("m", version)
    users = range(600)
    before: dict[int, str] = {}
    for share in (0.05, 0.5, 1.0):
        gateway.routes.share("m", [("2.0", share), ("1.0", 1 - share)])
        now = {user: gateway.version(user) for user in users}
        assert now == {user: gateway.version(user) for user in users}
        assert all(now[user] == "2.0" for user, version in before.items() if version == "2.0")
        before = now
    gateway.routes.share("m", [("1.0", 1.0)])
    assert {gateway.version(user) for user in users} == {"1.0"}


def test_a_change_holds_from_the_next_request_and_closes_no_connection(gateway: Gateway) -> None:
    for version in ("1.0", "2.0"):
        gateway.routes.declare("m", version)
        gateway.routes.share("m", [(version, 1.0)])
        assert gateway.client.post("/predictions/m").headers["x-model-version"] == version
    workers = subprocess.run(["ps", "--ppid", str(gateway.process.pid), "-o", "pid="], capture_output=True, check=True)
    assert len(workers.stdout.split()) == 1


def test_versions_come_and_go(gateway: Gateway) -> None:
    def code(path: str) -> str:
        answer = gateway.client.post(path)
        assert answer.headers.get("x-model-version", "") == ("" if answer.status_code == 404 else "1.0")
        return str(answer.json()["error"]["code"])

    assert code("/predictions/m") == code("/predictions/m/1.0") == "unknown_model"
    gateway.routes.declare("m", "1.0")
    assert (code("/predictions/m"), code("/predictions/m/1.0")) == ("unknown_model", "not_ready")
    gateway.routes.share("m", [("1.0", 1.0)])
    assert code("/predictions/m") == "not_ready"
    gateway.routes.open("m", "1.0")
    assert code("/predictions/m") == "restarting"  # let through, and there is no model server
    gateway.routes.close_all()
    assert code("/predictions/m") == "not_ready"
    gateway.routes.refuse("m", "1.0")
    assert code("/predictions/m") == "model_refused"
    gateway.routes.share("m", [])
    gateway.routes.forget("m", "1.0")
    assert code("/predictions/m") == code("/predictions/m/1.0") == "unknown_model"

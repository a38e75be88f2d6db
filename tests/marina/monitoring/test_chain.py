"""From failing requests to a message, with the real Prometheus and Alertmanager; and what ends it."""

import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
import yaml

from marina.database.connection import Database
from marina.database.tables import EVIDENCE
from marina.events import latency_histogram
from marina.monitoring import api
from marina.monitoring.alerts import latest, open_alerts
from marina.monitoring.watch_config import DEPLOY, alertmanager_command, prometheus_command, write_config
from marina.serving.temporary_server import free_ports
from marina.settings import Settings
from tests.marina.monitoring.programs import program
from tests.serving import archive, running

NOTIFIED_S = 90.0
PACE = {"scrape_interval": "1s", "evaluation_interval": "1s"}
SHORTER = ((r"keep_firing_for: \w+", "keep_firing_for: 2s"), (r"\[(1m|5m)\]", "[20s]"), (r"\[1h\]", "[40s]"))
"""So that an end is seen within the test's time; what makes an alert fire is as it is."""


class Receiver:
    """Takes webhooks, and keeps what they said."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, dict[str, Any]]] = []
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                calls.append((time.monotonic(), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def heard(self, name: str, status: str) -> float | None:
        """Return when an alert was first heard of in a status."""
        for at, call in self.calls:
            if any(one["labels"]["alertname"] == name and one["status"] == status for one in call["alerts"]):
                return at
        return None


class Traffic:
    """Adds a window of requests each half second, as the collector does."""

    def __init__(self, database: Database) -> None:
        self.errors = 0
        self._database = database
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(5)

    def _run(self) -> None:
        number = 0
        latencies = latency_histogram.to_json({latency_histogram.bucket(20.0): 100})
        while not self._ending.wait(0.5):
            number += 1
            row = {"model": "m", "version": "1.0", "replica": f"r{number}", "start": int(time.time())}
            with self._database.writing() as connection:
                values = row | {"requests": 100, "errors": self.errors, "latencies": latencies}
                connection.execute(sa.insert(EVIDENCE), values)


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def served(database: Database, settings: Settings) -> Iterator[None]:
    config = uvicorn.Config(
        api.application(database, settings), host="127.0.0.1", port=settings.management_port, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def wait_for(found: Callable[[], Any], within_s: float, what: str) -> Any:
    end = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return value


def shortened(folder: Path) -> Path:
    rules = folder / "rules"
    rules.mkdir()
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        text = path.read_text()
        for pattern, shorter in SHORTER:
            text = re.sub(pattern, shorter, text)
        (rules / path.name).write_text(text)
    return rules


@contextlib.contextmanager
def watching(settings: Settings, tmp_path: Path, jobs: tuple[str, ...]) -> Iterator[None]:
    """Run both programs as `make watch` does, at a test's pace."""
    prometheus, alertmanager = program("prometheus"), program("prometheus-alertmanager")
    folder = tmp_path / "watch"
    config, routes = write_config(settings, folder)
    said = yaml.safe_load(config.read_text())
    said["global"] |= PACE
    said["rule_files"] = [f"{shortened(folder)}/*.yml"]
    said["scrape_configs"] = [job for job in said["scrape_configs"] if job["job_name"] in jobs]
    config.write_text(yaml.safe_dump(said))
    told = yaml.safe_load(routes.read_text())
    told["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    routes.write_text(yaml.safe_dump(told))
    watch = prometheus_command(prometheus, config, settings, folder / "p", "--rules.alert.resend-delay=5s")
    with (
        started(alertmanager_command(alertmanager, routes, settings, folder / "a"), tmp_path / "a.log"),
        started(watch, tmp_path / "p.log"),
    ):
        yield


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.mark.slow
def test_failing_requests_are_notified_within_90_seconds_recorded_and_over_when_they_are(
    receiver: Receiver, tmp_path: Path
) -> None:
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    ports = free_ports(4)
    settings = Settings(
        state_dir=tmp_path / "state", alert_on_call_url=receiver.url,  # type: ignore[arg-type]
        management_port=ports[0], metrics_port=ports[1], prometheus_port=ports[2], alertmanager_port=ports[3],
    )  # fmt: skip
    with served(database, settings), watching(settings, tmp_path, ("marina", "prometheus", "alertmanager")):
        traffic = Traffic(database)
        try:
            _go_through(database, settings, receiver, traffic)
        finally:
            traffic.stop()
    database.close()


@pytest.mark.slow
def test_a_killed_java_and_a_corrupt_archive_of_a_real_server_are_notified_and_the_first_is_over(
    receiver: Receiver, tmp_path: Path
) -> None:
    program("prometheus"), program("prometheus-alertmanager")
    with running([archive(tmp_path / "store")]) as server:
        ports = free_ports(2)
        settings = Settings(
            state_dir=tmp_path / "state", alert_on_call_url=receiver.url, management_token=server.token,  # type: ignore[arg-type]
            management_port=httpx.URL(server.management_url).port, metrics_port=httpx.URL(server.metrics_url).port,  # type: ignore[arg-type]
            prometheus_port=ports[0], alertmanager_port=ports[1],
        )  # fmt: skip
        ask = f"http://127.0.0.1:{ports[0]}/api/v1/query"

        def rows() -> dict[str, str]:
            answer = httpx.get(f"{server.management_url}/alerts", headers=server.authorization, timeout=30)
            return {one["name"]: one["model"] for one in answer.json().get("alerts", ())}

        def up() -> bool:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                found = httpx.get(ask, params={"query": "sum(up) == 4"}, timeout=10).json()
                return bool(found["data"]["result"])
            return False

        with watching(settings, tmp_path, ("marina", "torchserve", "prometheus", "alertmanager")):
            wait_for(up, 90, "not every job is up")
            assert httpx.get(f"{server.management_url}/alerts", timeout=30).status_code == 401
            os.kill(server.pids["java"], signal.SIGKILL)
            wait_for(lambda: receiver.heard("TorchServeDown", "firing"), NOTIFIED_S, "no one was notified")
            wait_for(lambda: receiver.heard("TorchServeDown", "resolved"), 180, "its end was not notified")
            wait_for(lambda: "TorchServeDown" not in rows(), 30, "its row is still open")
            [copy] = (server.state_dir / "declared").glob("*.mar")
            copy.write_bytes(copy.read_bytes() + b"x")
            wait_for(lambda: rows().get("ArchiveCorrupted") == "echo", NOTIFIED_S, "no row of the corrupt archive")


def _go_through(database: Database, settings: Settings, receiver: Receiver, traffic: Traffic) -> None:
    ask = f"http://127.0.0.1:{settings.prometheus_port}/api/v1/query"

    def ratio() -> list[Any]:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(ask, params={"query": 'slo:sli_error:ratio_rate1h{model="m"}'}, timeout=10)
            return list(answer.json()["data"]["result"])
        return []

    wait_for(ratio, 90, "Prometheus computes no error ratio")
    assert receiver.calls == []  # a healthy start is no alert
    traffic.errors, begun = 5, time.monotonic()  # of 100
    at = wait_for(lambda: receiver.heard("ErrorBudgetBurnFast", "firing"), NOTIFIED_S, "no one was notified")
    assert at - begun < NOTIFIED_S

    def recorded() -> bool:
        with database.reading() as connection:
            return any(one.name == "ErrorBudgetBurnFast" and one.model == "m" for one in open_alerts(connection))

    wait_for(recorded, 30, "the alert is no row")
    traffic.errors = 0
    wait_for(lambda: receiver.heard("ErrorBudgetBurnFast", "resolved"), 180, "its end was not notified")

    def over() -> bool:
        with database.reading() as connection:
            found = [one for one in latest(connection, 50) if one.name == "ErrorBudgetBurnFast"]
        return bool(found) and all(one.state == "resolved" for one in found)

    wait_for(over, 30, "its row is still open")

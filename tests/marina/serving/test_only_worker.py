"""A model's only worker dies while the machine is busy, and one request comes at once: it is answered all the same."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.families import code_health, signflow
from tests.serving import PREDICTS, Server, archive, running
from training.packaging.archive import build

LIMIT_S = 60  # a busy machine takes its time to load a model again; an attempt has all of it
BUSY = 2

EXITS = """
import os
import signal


class Exits:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        how, marker = bytes(data[0]["body"]).decode().strip('"').partition(" ")[::2]
        if not marker:  # its own example
            return [b"{}"] * len(data)
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return [b"{}"] * len(data)
        os._exit(int(how)) if how.isdigit() else os.kill(os.getpid(), getattr(signal, how))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def models(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a small tabular model, SignFlow, and a handler that ends its process when it is told to."""
    folder = tmp_path_factory.mktemp("archives")
    sums = build(code_health.releases()["code_risk"], folder).path
    paths = [sums, signflow_archive, archive(folder, "exits", code=EXITS)]
    with running(paths, PREDICTS | {"request_timeout_s": LIMIT_S}) as server, busy():
        yield server


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


@pytest.mark.parametrize(
    ("signum", "pause_s"), [("SIGKILL", 0.0), ("SIGKILL", 0.3), ("SIGSEGV", 0.0), ("SIGABRT", 0.3)]
)
@pytest.mark.parametrize("model", ["code_risk", "signflow"])
def test_a_request_that_comes_when_every_worker_has_died_is_answered(
    models: Server, model: str, signum: str, pause_s: float
) -> None:
    models.wait()
    body = (code_health if model == "code_risk" else signflow).good(model)[0]
    for worker in models.worker_pids(model):  # SignFlow has two, and none is left
        os.kill(worker, getattr(signal, signum))
    time.sleep(pause_s)
    answer = httpx.post(f"{models.url}/predictions/{model}", json=body, timeout=2 * LIMIT_S)
    assert answer.status_code == 200, answer.text
    assert answer.elapsed.total_seconds() < LIMIT_S


@pytest.mark.parametrize("how", ["0", "1", "SIGKILL", "SIGSEGV"])
def test_a_request_of_which_the_only_worker_dies_is_answered_by_the_next(
    models: Server, tmp_path: Path, how: str
) -> None:
    models.wait()
    answer = httpx.post(f"{models.url}/predictions/exits", json=f"{how} {tmp_path}/once", timeout=2 * LIMIT_S)
    assert answer.status_code == 200, answer.text
    assert (tmp_path / "once").exists()


def test_where_the_worker_does_not_come_back_in_time_the_words_are_true(tmp_path: Path) -> None:
    with running([archive(tmp_path, config={"load_s": 8})], PREDICTS | {"request_timeout_s": 3}) as server:
        os.kill(server.worker_pids("echo")[0], signal.SIGKILL)
        answer = httpx.post(f"{server.url}/predictions/echo", json={}, timeout=60)
        error = json.loads(answer.content)["error"]
        assert (answer.status_code, error["code"]) == (504, "deadline")
        said = re.search(r"after ([0-9.]+) s; the limit is 3 s", error["message"])
        assert said is not None
        assert 2.4 < float(said[1]) == pytest.approx(answer.elapsed.total_seconds(), abs=0.5)

"""A disk that is full ends nothing: predictions go on, the rest comes back when there is room, and a stop is a stop."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from marina.database.connection import Database
from tests.marina.serving.small_disk import fill, small_disk
from tests.marina.serving.test_reconciler import until
from tests.serving import Server, archive, running
from tests.survival import Traffic

pytestmark = pytest.mark.slow
SIDECARS = ("collector", "api", "controller", "shadow")


def label(server: Server) -> httpx.Response:
    return httpx.post(f"{server.url}/feedback", json={"request_id": "a", "label": "b"}, timeout=30)


def stopped(server: Server, seconds: float = 25) -> bool:
    """Stop the server, which must not take longer; say whether all of it is gone."""
    everything = [server.process.pid, *(child.pid for child in psutil.Process(server.process.pid).children(True))]
    began = time.monotonic()
    assert server.stop() == 0, server.output.read_text()
    assert time.monotonic() - began < seconds
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in everything)


@pytest.mark.timeout(300)
def test_a_full_state_folder_ends_nothing(tmp_path: Path) -> None:
    with small_disk(96) as disk, running([archive(tmp_path)], {"state_dir": str(disk / "state")}) as server:
        refused: list[httpx.Response] = []
        with Traffic(server, wish={"sleep_s": 0.01}, connections=4) as traffic:
            filling = fill(disk)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                refused.append(label(server))
                fill(disk)
                time.sleep(0.2)
            for name in SIDECARS:  # those that start on a full disk manage as well
                os.kill(server.pids[name], signal.SIGKILL)
            time.sleep(3)
            during = len(traffic.answers)
            filling.unlink()
            until(lambda: label(server).status_code == 200, 60)
        assert traffic.statuses == {200: len(traffic.answers)}
        assert during > 100
        assert {answer.status_code for answer in refused} <= {200, 503}
        assert all("retry-after" in answer.headers for answer in refused if answer.status_code == 503)
        database = Database(f"sqlite:///{server.state_dir}/marina.db")
        assert database.faults() == []
        database.close()
        fill(disk)
        assert stopped(server)


@pytest.mark.timeout(300)
def test_with_a_full_temporary_folder_java_comes_back_or_says_what_it_lacks_and_a_stop_drains(tmp_path: Path) -> None:
    def ask(**wish: object) -> int:
        return httpx.post(f"{server.url}/predictions/echo", json=wish, timeout=30).status_code

    with small_disk(64) as disk, running([archive(tmp_path)], temp_dir=disk) as server:
        filling = fill(disk)
        assert ask() == 200
        os.kill(server.pids["java"], signal.SIGKILL)  # what it had unpacked makes room
        server.wait(ready=False, timeout_s=30)
        server.wait()
        assert ask() == 200
        said = len(server.output.read_text())
        os.kill(server.pids["java"], signal.SIGKILL)
        server.wait(ready=False, timeout_s=30)
        end = time.monotonic() + 60
        while "is full: free" not in server.output.read_text()[said:]:
            assert time.monotonic() < end, server.output.read_text()
            fill(disk)
            time.sleep(0.05)
        filling.unlink()
        server.wait()
        fill(disk)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, sleep_s=2)
            time.sleep(0.5)
            assert stopped(server)
            assert answer.result() == 200

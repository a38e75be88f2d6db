import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marina.processes import log_rotation
from marina.processes.log_rotation import Logs
from tests.marina.serving.front import TOKEN, front


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LARGEST_BYTES", "LARGEST_ACCESS_LOG_BYTES"):
        monkeypatch.setattr(log_rotation, name, 20_000)
    monkeypatch.setattr(log_rotation, "PAUSE_S", 0.0)


def test_the_gateways_logs_are_moved_aside_and_go_on(tmp_path: Path) -> None:
    with front(tmp_path) as gateway:
        folder = gateway.settings.log_dir
        rotating = Logs(folder, [], lambda: gateway.nginx.signal(signal.SIGUSR1))
        sent = 0
        for _ in range(3):
            for _ in range(120):
                sent += 1
                headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": f"r-{sent}"}
                gateway.client.post(f"/predictions/{'a' * 3000}", headers=headers)
                gateway.management.get(f"/models?{'x' * 3000}", headers=headers)
            for log in ("access.jsonl", "management.jsonl"):
                gateway.line(f"r-{sent}", log)
            rotating.rotate()
            while not ((folder / "access.jsonl").exists() and (folder / "management.jsonl").exists()):
                time.sleep(0.01)  # until nginx has opened it anew
        gateway.client.get("/", headers={"X-Request-Id": "last"})
        lines: list[str] = []
        until = time.monotonic() + 30
        while not any('"id":"last"' in line for line in lines):  # in the old file, where a worker still has that open
            assert time.monotonic() < until
            time.sleep(0.05)
            lines = [line for path in folder.glob("access*.jsonl*") for line in path.read_text().splitlines()]
        assert sorted(path.name for path in folder.glob("management.*")) == ["management.jsonl", "management.jsonl.1"]
        assert len({json.loads(line)["id"] for line in lines}) == sent + 1  # what the collector counts is all there
        assert sum(path.stat().st_size for path in folder.glob("management.*")) < 3 * 120 * 600


def test_a_console_that_a_child_keeps_open_is_emptied(tmp_path: Path) -> None:
    place = tmp_path / "api.log"
    rotating = Logs(tmp_path, ["api.log", "never-there.log"], lambda: None)
    code = "import sys\nfor line in sys.stdin:\n    print(line * 100, flush=True)"
    with place.open("ab") as log:
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=log, text=True)
    assert child.stdin is not None
    for _ in range(100):
        before = place.stat().st_size
        child.stdin.write("a line of words\n")
        child.stdin.flush()
        while place.stat().st_size == before:
            pass
        rotating.rotate()
        assert place.stat().st_size <= 30_000  # no hole where the writer was
    child.stdin.close()
    assert child.wait(30) == 0
    assert (tmp_path / "api.log.1").stat().st_size < 30_000


def test_without_room_a_console_is_emptied_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    (tmp_path / "api.log").write_bytes(b"x" * 30_000)
    Logs(tmp_path, ["api.log"], lambda: None).rotate()
    assert (tmp_path / "api.log").stat().st_size == 0

"""What becomes of a run whose processes are killed together, and of the next one."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from marina.serving import leftovers
from marina.serving.run_dir import PREFIX
from marina.settings import Settings
from tests.marina.serving.front import front
from tests.serving import PREDICTS, ROOT, Server, archive, running


def everything_of(server: Server) -> list[psutil.Process]:
    top = psutil.Process(server.process.pid)
    return [top, *top.children(recursive=True)]


def kill(server: Server, *names: str) -> None:
    """Kill processes of the server in one go: stopped first, none sees another's end."""
    pids = [server.pids[name] for name in names]
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, signum)
    server.process.wait(10)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("supervisor", "nginx"), ("supervisor", "java"), ("supervisor", "nginx", "java")])
def test_of_processes_killed_together_nothing_is_left_and_the_next_start_serves(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    state: dict[str, str | int | float] = {"state_dir": str(tmp_path / "state")}
    with running([archive(tmp_path)], state) as server:
        everything = everything_of(server)
        kill(server, *names)
        _, alive = psutil.wait_procs(everything, timeout=30)
        assert alive == []
        ports = [int(url.rpartition(":")[2]) for url in (server.url, server.management_url, server.metrics_url)]
    same = dict(zip(("inference_port", "management_port", "metrics_port"), ports, strict=True))
    with running([], PREDICTS | state | same) as server:
        assert httpx.post(f"{server.url}/predictions/echo", json={}).status_code == 200


@pytest.mark.slow
def test_a_gateway_that_hears_no_signal_is_ended_by_the_next_start(tmp_path: Path) -> None:
    state: dict[str, str | int | float] = {"state_dir": str(tmp_path / "state")}
    with running([archive(tmp_path)], state) as server:
        everything = everything_of(server)
        (worker,) = psutil.Process(server.pids["nginx"]).children()
        worker.suspend()
        kill(server, "supervisor", "nginx")
        _, alive = psutil.wait_procs(everything, timeout=5)
        assert alive == [worker]
        ports = [int(url.rpartition(":")[2]) for url in (server.url, server.management_url, server.metrics_url)]
        same = dict(zip(("inference_port", "management_port", "metrics_port"), ports, strict=True))
        with running([], PREDICTS | state | same) as another:
            assert httpx.post(f"{another.url}/predictions/echo", json={}).status_code == 200
            assert f"killed run: {worker.pid} (nginx)" in another.output.read_text()
        assert not worker.is_running()


def sleeper(run: Path) -> "subprocess.Popen[bytes]":
    """A process that a run is said to have started."""
    code = "import time; print(flush=True); time.sleep(600)"
    started = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"MARINA_RUN_DIR": str(run)}, stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    started.stdout.readline()
    return started


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "state").mkdir()
    return Settings(state_dir=tmp_path / "state")


def folder(tmp_path: Path, name: str, owner: bool = True) -> Path:
    made = tmp_path / f"marina-{name}"
    made.mkdir()
    if owner:
        (made / "owner").write_text("1")
    return made


def test_dead_runs_are_cleared_and_living_and_strange_folders_kept(tmp_path: Path, settings: Settings) -> None:
    dead, alive = folder(tmp_path, "deaddead"), folder(tmp_path, "alive123")
    strange = folder(tmp_path, "strange1", owner=False)
    (tmp_path / "marina-linklink").symlink_to(dead)
    processes = {run: sleeper(run) for run in (dead, alive, strange)}
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert leftovers.clear(settings)
        assert [run.exists() for run in (dead, alive, strange)] == [False, True, True]
        assert [process.poll() is None for process in processes.values()] == [False, True, True]
        assert not leftovers.clear(settings)
    finally:
        os.close(descriptor)
        for process in processes.values():
            process.kill()
            process.communicate()


def test_a_run_whose_folder_is_gone_is_found_by_the_state_folder(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "elsewhere" / "marina-gonegone"
    process = sleeper(run)
    try:
        for content in ('{"run_dir": 7}', "[]", "{", json.dumps({"run_dir": "/"})):
            (settings.state_dir / "running.json").write_text(content)
            assert not leftovers.clear(settings)
        (settings.state_dir / "running.json").write_text(json.dumps({"run_dir": str(run), "java": os.getpid()}))
        assert leftovers.clear(settings)
        assert process.poll() is not None
    finally:
        process.kill()
        process.communicate()


def test_a_gateway_whose_supervisor_is_gone_does_not_call_itself_healthy(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        made.nginx.readiness.publish(True, {"echo": True}, {"echo": {"1.0": "ready"}})
        assert made.client.get("/ping").status_code == 200
        config = made.run_dir / "nginx.conf"
        config.write_text(config.read_text().replace(f"/proc/{os.getpid()})", "/proc/4194305)"))  # above every pid
        made.nginx.signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while (answer := made.client.get("/ping/echo")).status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unattended")
        assert made.client.get("/ping").status_code == 503


def test_all_processes_of_a_gateway_end_with_the_supervisor(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, pathlib\n"
        "from tests.marina.serving.front import front\n"
        "with front(pathlib.Path(sys.argv[1]), gateway_processes=2) as made:\n"
        "    print(made.nginx.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        master = psutil.Process(int(supervisor.stdout.readline()))
        processes = [master, *master.children()]
        assert len(processes) == 3
        for signum in (signal.SIGSTOP, signal.SIGKILL):  # together: neither sees the other's end
            for pid in (master.pid, supervisor.pid):
                os.kill(pid, signum)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
def test_another_users_run_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, f"{PREFIX}12345678")
        run.mkdir(0o700)
        (run / "owner").write_text("1")
        Path(folder).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        os.seteuid(65534)
        try:
            assert not leftovers.clear(Settings(state_dir=Path(folder, "state")))
        finally:
            os.seteuid(0)
        assert (run / "owner").exists()

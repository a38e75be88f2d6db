"""Starting, stopping, refusing and restoring."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving import ROOT, Server, archive, running


def everything_of(server: Server) -> list[psutil.Process]:
    top = psutil.Process(server.process.pid)
    return [top, *top.children(recursive=True)]


def ports_of(server: Server) -> list[int]:
    return [int(url.rpartition(":")[2]) for url in (server.url, server.management_url, server.metrics_url)]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_under_load_finishes_what_was_accepted_and_leaves_nothing(tmp_path: Path, signum: int) -> None:
    record = tmp_path / "seen"
    answered: set[str] = set()
    with running([archive(tmp_path)]) as server:
        stop = threading.Event()

        def ask(client_number: int) -> None:
            for number in range(10_000):
                ident = f"{client_number}-{number}"
                try:
                    answer = httpx.post(
                        f"{server.url}/predictions/echo",
                        json={"sleep_s": 0.3, "record": str(record)},
                        headers={"X-Request-Id": ident, "Connection": "close"},
                        timeout=60,
                    )
                except httpx.TransportError:  # not accepted any more
                    assert stop.is_set()
                    return
                assert answer.status_code == 200
                answered.add(ident)

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(ask, number) for number in range(8)]
            time.sleep(2)
            everything = everything_of(server)
            stop.set()
            status = server.stop(signum)
            for future in futures:
                future.result(timeout=60)
        seen = set(record.read_text().split())
        assert seen
        assert seen <= answered, "the handler worked on requests whose clients got no answer"
        assert status == 0
        assert [process for process in everything if process.is_running() and process.status() != "zombie"] == []
        assert list(server.temp_dir.iterdir()) == []
        assert not (server.state_dir / "running.json").exists()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/ping")


@pytest.mark.slow
def test_a_model_that_refuses_to_load_is_reported_with_its_words_and_others_serve(tmp_path: Path) -> None:
    words = "golden input 3: output logits[7] is off by 0.25 (tolerance 1e-4)"
    good, bad = archive(tmp_path), archive(tmp_path, "flipped", config={"refuse": words})
    with running([good, bad], wait=False) as server:
        end = time.monotonic() + 180
        while (
            "refuses to serve" not in server.output.read_text() or "serving echo 1.0" not in server.output.read_text()
        ):
            assert time.monotonic() < end, server.output.read_text()
            time.sleep(0.2)
        assert words in server.output.read_text()
        assert httpx.post(f"{server.url}/predictions/echo", json={}).status_code == 200
        refused = httpx.post(f"{server.url}/predictions/flipped", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_refused")
        server.wait()  # a version that is refused takes nobody else out
        ping = httpx.get(f"{server.url}/ping")
        assert (ping.status_code, ping.json()["models"]["flipped"]["1.0"]) == (200, "refused")
        assert [httpx.get(f"{server.url}/ping/{model}").status_code for model in ("echo", "flipped")] == [200, 503]


@pytest.mark.slow
def test_after_a_killed_supervisor_nothing_runs_on_and_the_next_start_restores(tmp_path: Path) -> None:
    state = {"state_dir": str(tmp_path / "state")}
    store = tmp_path / "elsewhere"
    store.mkdir()
    with running([archive(store, version="7.0")], state) as server:
        everything = everything_of(server)
        server.process.kill()
        _, alive = psutil.wait_procs(everything, timeout=30)
        assert alive == []
    (store / "echo-7.0.mar").unlink()  # the declared copy serves, whatever became of the file
    with running([], {**state, "archive_store": str(store)}) as server:
        assert httpx.post(f"{server.url}/predictions/echo", json={}).json()["version"] == "7.0"
        assert "restoring" in server.output.read_text()


@pytest.mark.slow
def test_a_second_start_says_who_to_stop_or_what_to_set(tmp_path: Path) -> None:
    one = archive(tmp_path)
    with running([one]) as server:
        inference, management, metrics = ports_of(server)
        for setting, overrides in {
            "MARINA_STATE_DIR": {"MARINA_STATE_DIR": str(server.state_dir)},
            "MARINA_INFERENCE_PORT": {"MARINA_INFERENCE_PORT": str(inference)},
            "MARINA_MANAGEMENT_PORT": {"MARINA_INFERENCE_PORT": "1", "MARINA_MANAGEMENT_PORT": str(management)},
            "MARINA_METRICS_PORT": {"MARINA_METRICS_PORT": str(metrics)},
        }.items():
            answer = start(tmp_path, overrides, "--archive", str(one))
            assert answer.returncode == 1
            if setting != "MARINA_MANAGEMENT_PORT" or os.geteuid() == 0:  # port 1 is root's
                assert setting in answer.stderr
            assert "Traceback" not in answer.stderr
        assert (
            str(server.process.pid)
            in start(tmp_path, {"MARINA_STATE_DIR": str(server.state_dir)}, "--archive", str(one)).stderr
        )


def start(tmp_path: Path, overrides: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Start the server where it must end by itself."""
    from tests.serving import free_ports

    ports = dict(zip(("INFERENCE", "MANAGEMENT", "METRICS"), map(str, free_ports(3)), strict=True))
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    env |= {f"MARINA_{name}_PORT": port for name, port in ports.items()}
    env |= {"MARINA_STATE_DIR": str(tmp_path / "own-state"), "TMPDIR": str(tmp_path), "MARINA_UNSIGNED": "allow"}
    env |= {"MARINA_USER": "root"} | overrides
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"MARINA_NGINX": "no-such-nginx"}, "apt-get install nginx"),
        ({"MARINA_JAVA_HOME": "/nonexistent"}, "MARINA_JAVA_HOME"),
    ],
)
def test_a_missing_program_is_named_with_what_to_install(tmp_path: Path, overrides: dict[str, str], words: str) -> None:
    answer = start(tmp_path, overrides, "--archive", str(archive(tmp_path)))
    assert answer.returncode == 1
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_or_broken_archive_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.0.mar"
    broken.write_bytes(b"not a zip")
    for path in (broken, tmp_path / "missing.mar"):
        answer = start(tmp_path, {}, "--archive", str(path))
        assert (answer.returncode, path.name in answer.stderr, "Traceback" in answer.stderr) == (1, True, False)


def test_help_shows_an_example() -> None:
    answer = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "serve.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "python scripts/serve.py --archive" in answer.stdout

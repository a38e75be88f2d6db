"""A server with traffic is backed up, all of it deleted, restored by one command: it serves the same as before."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.serving import ROOT, archive, running


def command(settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")} | {
        f"MARINA_{name.upper()}": value for name, value in settings.items()
    }
    program = [sys.executable, str(ROOT / "scripts" / "backup.py"), *arguments]
    return subprocess.run(program, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_is_deleted_is_served_again_after_one_command(tmp_path: Path) -> None:
    built, state, store = tmp_path / "built", tmp_path / "state", tmp_path / "store"
    built.mkdir()
    store.mkdir()
    archives = [archive(built, version=version) for version in ("1.0", "2.0")]
    settings = {
        "state_dir": str(state), "archive_store": str(store), "backup_destination": str(tmp_path / "backups"),
        "unsigned": "allow",
    }  # fmt: skip
    answered, stop = [0], threading.Event()
    with running(archives, settings) as server:

        def ask() -> None:
            while not stop.is_set():
                answer = httpx.post(f"{server.url}/predictions/echo/1.0", json={}, timeout=60)
                assert answer.status_code == 200, answer.text
                answered[0] += 1
                stop.wait(0.05)  # a backup steps aside for whatever else wants the processor

        traffic = threading.Thread(target=ask)
        traffic.start()
        try:
            before = httpx.get(f"{server.url}/ping", timeout=60).json()["models"]
            refused = command(settings, "restore", "--force")
            assert refused.returncode == 1 and "no backup" in refused.stderr
            made = command(settings, "run", "--json")
            assert made.returncode == 0, made.stderr
            refused = command(settings, "restore", "--force")
            assert refused.returncode == 1 and "A server runs" in refused.stderr
        finally:
            stop.set()
            traffic.join()
        metrics = httpx.get(f"{server.management_url}/metrics", headers=server.authorization, timeout=60).text
    assert answered[0] > 0
    last = [line for line in metrics.splitlines() if line.startswith("marina_backup_last_success_timestamp_seconds")]
    assert len(last) == 1 and abs(float(last[0].split()[-1]) - time.time()) < 120

    for folder in (state, store, built):
        shutil.rmtree(folder)
    done = command(settings, "restore", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["faults"] == [] and said["head"] == json.loads(made.stdout)["manifest"]["head"]
    again = command(settings, "restore")
    assert again.returncode == 1 and "--force" in again.stderr
    with running([], settings) as server:
        assert httpx.get(f"{server.url}/ping", timeout=60).json()["models"] == before
        assert httpx.post(f"{server.url}/predictions/echo/2.0", json={}, timeout=60).json()["version"] == "2.0"
    verified = subprocess.run(
        [sys.executable, "-m", "marina.rollout", "ledger", "verify"],
        cwd=ROOT, env=os.environ | {"MARINA_STATE_DIR": str(state)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stdout + verified.stderr

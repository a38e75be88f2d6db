"""The load test runs as it is typed, and shows a release."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marina.settings import ROOT
from tests.serving import Server, archive, manage, running


def loaded(server: Server, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "locust", "--locustfile", "tests/load/every_model.py", "--headless", "--users", "24",
        "--spawn-rate", "24", "--run-time", "4s", "--host", server.url, "--only-summary", *arguments,
    ]  # fmt: skip
    environment = os.environ | {"MARINA_ARCHIVE_STORE": str(store)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_every_model_is_loaded_and_a_release_is_seen(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    built = [archive(store), archive(store, "other")]
    archive(store, version="2.0")
    with running(built, {"archive_store": str(store)}) as server:
        for method, path in (
            ("POST", "/models?url=echo-2.0.mar&synchronous=true"),
            ("PUT", "/models/echo/2.0/set-default"),
        ):
            assert manage(server, method, path).is_success
        done = loaded(server, store)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "other 1.0: " in done.stdout and "echo 2.0: " in done.stdout, done.stderr
        only = loaded(server, store, "--models", "other")
        assert "other 1.0: " in only.stdout and "100.0 %" in only.stdout and "echo" not in only.stdout
        wrong = loaded(server, store, "--models", "nobody")
        assert wrong.returncode != 0 and "there are echo, other" in wrong.stdout + wrong.stderr

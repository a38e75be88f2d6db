"""What is installed is what was resolved: every file by its hash."""

import re
import subprocess
import sys

import pytest

from marina.settings import ROOT

INSTALLS = re.compile(r".*pip install .*")
HASHED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==\S+( ;[^\\]*)? \\$")


def test_every_pinned_release_has_the_hashes_of_its_files() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [at for at, line in enumerate(lines) if not line.startswith(" ")]
    assert len(pins) > 150
    assert [lines[at] for at in pins if not HASHED.match(lines[at])] == []
    assert [lines[at] for at in pins if "--hash=sha256:" not in lines[at + 1]] == []


def test_every_installation_asks_for_hashes() -> None:
    installs = [
        command
        for name in ("Makefile", "Dockerfile.gpu", "Dockerfile.orchestrator")
        for command in INSTALLS.findall((ROOT / name).read_text())
        if ".venv.lock" not in command  # the fresh resolve, which finds the hashes
    ]
    assert len(installs) == 8
    assert [command for command in installs if "--require-hashes" not in command] == []


@pytest.mark.parametrize("name", ["Dockerfile.gpu", "Dockerfile.orchestrator"])
def test_images_are_named_by_their_digest(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", text, re.M)
    assert re.findall(r"^FROM (.*)$", text, re.M) == ["${BASE_IMAGE}"]


def test_mlflow_reports_nothing_to_its_makers() -> None:
    # Out of reach of this process, which may have set it already.
    code = (
        "import os; [os.environ.pop(name, None) for name in ('CI', 'MLFLOW_DISABLE_TELEMETRY', 'DO_NOT_TRACK')]\n"
        "import archives.tracking_store\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "True", done.stderr

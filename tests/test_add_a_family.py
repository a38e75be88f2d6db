"""docs/ADD_A_FAMILY.md is true: its blocks, and nothing else, make a family that trains, passes and serves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT

ROOMS = ("archives", "deploy", "handlers", "marina", "models", "scripts", "tests", "training")
FILES = ("config.properties", "constraints.txt", "pyproject.toml")
SERVED = """
import httpx
from pathlib import Path
from marina.serving import temporary_server

with temporary_server.running([Path("store/pears-1.0.mar")]) as server:
    answer = httpx.post(f"{server.url}/predictions/pears", json={"firmness": 20, "sugar": 15})
    print(answer.status_code, answer.json()["predictions"][0]["label"])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, and what the page's blocks add to it."""
    folder = tmp_path_factory.mktemp("pears")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("store", "__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    page = (ROOT / "docs" / "ADD_A_FAMILY.md").read_text()
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.S)
    assert len(blocks) == 5
    for name, code in blocks:
        assert not (folder / name).exists()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    (folder / "models" / "pears" / "__init__.py").write_text('"""Pears."""\n')
    (folder / "training" / "pears" / "__init__.py").write_text('"""How pears are trained."""\n')
    return folder


def run(project: Path, *command: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, *command], cwd=project, env=env, capture_output=True, text=True, check=False, timeout=570
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_family_keeps_every_promise_that_families_keep(project: Path) -> None:
    told = run(project, "-m", "pytest", "-q", "tests/handlers/test_every_family.py", "-k", "pears")
    assert re.search(r"[4-9]\d passed", told) and not re.search("skipped|failed", told), told


def test_the_family_trains_and_serves(project: Path) -> None:
    told = run(project, "scripts/train.py", "pears", "--store", "store")
    assert "pears-1.0.mar" in told
    assert run(project, "-c", SERVED).split()[-2:] == ["200", "ripe"]


def test_the_pages_code_is_as_clean_as_ours(project: Path) -> None:
    run(project, "-m", "ruff", "check", "--select", "E,F,I,B,UP,SIM,PL,RUF,D", "models/pears", "training/pears",
        "handlers/pears.py", "tests/families/pears.py")  # fmt: skip

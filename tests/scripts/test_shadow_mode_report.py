import os
import subprocess
import sys
from pathlib import Path

from marina.database.connection import Database
from marina.settings import ROOT
from tests.marina.rollout.paired import MODEL, drawn


def ran(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/shadow_mode_report.py", *arguments]
    env = os.environ | {"MARINA_DATABASE_URL": url}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_it_prints_a_summary_and_writes_a_page(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    empty = ran(url, "--model", MODEL)
    assert empty.returncode == 1
    assert "shadow start" in empty.stdout
    drawn(database, 100)
    database.close()
    done = ran(url, "--model", MODEL, "--slice", "signer", "--out", str(tmp_path / "shadow.html"))
    assert done.returncode == 0, done.stderr
    assert "agreement by signer" in done.stdout
    assert "<svg" in (tmp_path / "shadow.html").read_text()

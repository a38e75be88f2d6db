import os
import subprocess
import sys
from pathlib import Path

from marina.database.connection import Database
from marina.settings import ROOT
from tests.marina.rollout.paired import MODEL, drawn


def ran(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/compare_models.py", *arguments]
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    env |= {
        "MARINA_STATE_DIR": str(tmp_path),
        "MARINA_ARCHIVE_STORE": str(tmp_path / "store"),
        "MARINA_DATABASE_URL": "",
    }
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_an_archive_is_compared_with_itself(signflow_archive: Path, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    done = ran(tmp_path, "--baseline", str(signflow_archive), "--candidate", str(signflow_archive), "--out", str(page))
    assert done.returncode == 0, done.stderr
    assert "the same inputs, outputs, labels and limits" in done.stdout
    assert "golden gap" in page.read_text()


def test_versions_without_archives_are_compared_by_their_traffic(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    drawn(database, 400, agree=0.8, labelled=1.0)
    database.close()
    done = ran(tmp_path, "--baseline", f"{MODEL}:1.0", "--candidate", f"{MODEL}:2.0")
    assert done.returncode == 0, done.stderr
    assert "It is worse." in done.stdout
    assert "There is no signs-2.0.mar" in done.stderr


def test_what_is_no_version_is_refused_with_an_example(tmp_path: Path) -> None:
    done = ran(tmp_path, "--baseline", "signflow", "--candidate", "signflow:2.0")
    assert done.returncode == 1
    assert "expected MODEL:VERSION" in done.stderr

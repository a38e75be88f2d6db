import shutil
import subprocess
from pathlib import Path

import pytest

from marina.settings import ROOT

RECORDED, BUILT = ".marina/marina.db", "archives/store/m-1.0.mar"


@pytest.mark.parametrize(
    ("verb", "typed", "left"),
    [
        ("clean", "", {RECORDED}),
        ("purge", "", {RECORDED, BUILT}),
        ("purge", "yes\n", {RECORDED, BUILT}),
        ("purge", "purge\n", set()),
    ],
)
def test_what_was_recorded_is_deleted_only_when_asked_for(
    tmp_path: Path, verb: str, typed: str, left: set[str]
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (RECORDED, BUILT):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    done = subprocess.run(["make", verb], cwd=tmp_path, input=typed, capture_output=True, text=True, check=False)
    assert {name for name in (RECORDED, BUILT) if (tmp_path / name).exists()} == left
    assert (done.returncode == 0) is (BUILT not in left), done.stderr

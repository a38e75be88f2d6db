import subprocess
import sys
from pathlib import Path

from archives.certificate import Case, read_cases, write_cases
from settings import ROOT
from tests.archives.rewrite import members_of, recertified, rewritten


def inspect(path: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "inspect_archive.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_a_good_archive_is_described_and_proven(signflow_archive: Path) -> None:
    code, page = inspect(signflow_archive)
    assert code == 0, page
    assert "PROVEN" in page and "signflow 1.0" in page and "landmarks" in page and "data manifest" in page


def test_an_altered_archive_is_refused_and_the_member_named(signflow_archive: Path, tmp_path: Path) -> None:
    code, page = inspect(rewritten(signflow_archive, tmp_path / "a-1.0.mar", {"contract.json": b"{}"}))
    assert code == 1
    assert "REFUSED" in page and "contract.json" in page


def test_an_archive_whose_graph_answers_otherwise_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    golden = tmp_path / "certificate.npz"
    golden.write_bytes(members_of(signflow_archive)["certificate.npz"])
    first, *others = read_cases(golden)
    moved = write_cases((Case(first.name, first.inputs, {"logits": first.outputs["logits"] + 0.01}), *others))
    code, page = inspect(recertified(signflow_archive, tmp_path / "b-1.0.mar", {"certificate.npz": moved}))
    assert code == 1, page
    assert "REFUSED" in page and "is off by 0.01" in page


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    code, page = inspect(tmp_path / "none-1.0.mar")
    assert code == 1 and "does not exist" in page

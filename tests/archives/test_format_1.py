"""An archive of FORMAT 1, built at commit a092dcd and never again: it opens, passes the linter and serves."""

from pathlib import Path

import httpx
import pytest

from archives.archive import open_archive
from archives.linter import lint
from tests.serving import PREDICTS, ROOT, running

FIXTURE = ROOT / "tests" / "archives" / "fixtures" / "code_bugs-1.0.mar"
SHA256 = "09c6a60e078b345eb10e58adf508338a3533ebad2224594164f93d1141bab142"


def test_a_format_1_archive_opens() -> None:
    archive = open_archive(FIXTURE)
    assert archive.sha256 == SHA256  # the file of then
    assert (archive.contract.model, archive.contract.version, archive.contract.format) == ("code_bugs", "1.0", 1)
    assert archive.name == FIXTURE.name


def test_a_format_1_archive_passes_the_linter() -> None:
    assert lint(FIXTURE.read_bytes()) == []


def test_a_format_1_archive_unpacks_to_what_it_holds(tmp_path: Path) -> None:
    archive = open_archive(FIXTURE)
    archive.unpack(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(archive.members)


def test_a_format_1_archive_serves() -> None:
    example = bytes(open_archive(FIXTURE).members["example.json"])
    headers = {"Content-Type": "application/json"}
    with running([FIXTURE], PREDICTS) as server:
        response = httpx.post(f"{server.url}/predictions/code_bugs", content=example, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["model"], answer["version"]) == ("code_bugs", "1.0")
    assert answer["predictions"] == {
        "value": pytest.approx(0.12687164545059204, abs=1e-5),
        "label": "bug",
        "threshold": pytest.approx(0.10602541267871857),
    }

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from scripts.load_data import main

HEAD = "designation;description;prdtypecode\n"


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))


def test_rows_are_imported_released_shown_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = tmp_path / "shop.csv"
    shop.write_text(HEAD + "".join(f"product {one};;10\n" for one in range(50)) + "bad \x1b[2J;;x\n")
    catalog = ["--family", "catalog", "--json"]
    assert main(["import", *catalog, str(shop)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[-1])["files"][0]["added"] == 50
    assert "shop.csv[50]: str_matches" in shown.err and "\x1b" not in shown.err
    assert main(["release", *catalog, "--week", "2026-W48"]) == 0
    assert result(capsys)["visible"] == 10
    assert main(["release", *catalog, "--week", "2026-W49"]) == 0
    assert result(capsys)["rows"] == 1
    assert main(["status", "--json", "--bad"]) == 0
    out = capsys.readouterr().out
    assert "catalog: 11 of 50 rows visible, 1 bad, 1 files, last release 2026-W49" in out and "shop.csv[50]" in out
    assert main(["export", *catalog, "--out", str(tmp_path / "catalog.parquet")]) == 0
    assert result(capsys)["rows"] == 11


def test_a_file_that_is_refused_ends_with_one_and_the_others_are_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "a.csv").write_text("")
    (folder / "b.csv").write_text(HEAD + "product;;10\n")
    assert main(["import", "--family", "catalog", str(folder), "--json"]) == 1
    shown = capsys.readouterr()
    states = [one["state"] for one in json.loads(shown.out.splitlines()[-1])["files"]]
    assert states == ["refused", "done"] and "a.csv: unreadable file: expected a table, got an empty file" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "--family", "catalog", "/none"], "there is none"),
        (["release", "--family", "catalog"], "import a file first"),
        (["release", "--family", "catalog", "--week", "48"], "expected an ISO week"),
        (["export", "--family", "catalog", "--out", "x.parquet"], "release some"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 1
    shown = capsys.readouterr()
    assert words in shown.err and words in json.loads(shown.out.splitlines()[-1])["error"]


def test_a_database_that_goes_while_it_is_used_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(*_: object) -> None:
        raise sa.exc.OperationalError("SELECT 1", None, Exception("server closed the connection"))

    monkeypatch.setattr("scripts.load_data.release", leave)
    assert main(["release", "--family", "catalog", "--json"]) == 1
    assert "start the same command again" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]


def test_a_release_hands_its_file_on_and_says_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = ["release", "--out-dir", str(tmp_path / "data"), "--json", "--family"]
    for family in ("signflow", "catalog"):  # one that keeps no rows, one of which none were imported
        assert main([*release, family]) == 0
        assert result(capsys) == {"family": family, "state": "no rows"}
    assert main(["import", "--family", "catalog", "--synthetic", "300"]) == 0
    assert main([*release, "catalog"]) == 0
    made = tmp_path / "data" / "catalog.parquet"
    assert result(capsys)["data"] == str(made) and made.exists()

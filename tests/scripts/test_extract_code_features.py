import errno
import os
from pathlib import Path
from typing import IO

import pandas as pd
import pytest

from models.code_health.features import FEATURES, NAMES
from scripts.extract_code_features import NAMED, WRITERS, main
from tests.training.code_health.mining.repositories import commit_raw
from tests.training.code_health.tiny_repository import Tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    tiny.commit(20, {"a.py": "a = 2\n"}, "Fix a")
    tiny.commit(60, {"b.py": "b = 2\n"})
    return tiny


def run(tiny: Tiny, *more: str) -> int:
    return main([str(tiny.folder), "--cache", str(tiny.folder.parent / "cache.sqlite"), *more])


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_table_is_written(tiny: Tiny, tmp_path: Path, ending: str) -> None:
    file = tmp_path / "new" / f"health.{ending}"
    assert run(tiny, "--every", "30", "--kinds", "file", "project", "commit", "--labels", "--out", str(file)) == 0
    table = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file, parse_dates=["moment"])
    assert list(table.columns) == [
        *("project", "kind", "subject", "moment"), *NAMES, *("risk", "bug", "impact", "repaired_days"),
    ]  # fmt: skip
    assert table["kind"].value_counts().to_dict() == {"file": 6, "project": 3, "commit": 3}
    first = table[(table["kind"] == "file") & (table["subject"] == "a.py")].iloc[0]
    assert (first["project"], str(first["moment"]), first["bug"]) == ("project", "2020-01-01 00:00:00+00:00", 1)


def test_without_a_file_the_project_is_printed_with_units(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny, "--at", "2020-02-01") == 0
    out = capsys.readouterr().out
    assert "2 rows of kind file" in out
    assert "at 2020-02-01 00:00 UTC" in out
    assert all(feature.name in out and feature.unit in out for feature in FEATURES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at", "yesterday"], "ISO date"),
        (["--every", "0"], "at least 1 day"),
        (["--jobs", "0"], "at least 1 process"),
        (["--out", "health.xlsx"], r"\.parquet"),
    ],
)
def test_a_wrong_argument_is_explained(
    tiny: Tiny, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tiny, *arguments)
    assert stopped.value.code == 2
    assert said.replace("\\", "") in capsys.readouterr().err


def test_a_folder_that_is_no_repository_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "not a git repository" in capsys.readouterr().err


@pytest.mark.parametrize("files", [{"README.md": "words\n"}, {"vendor/a.py": "x = 1\n"}, {"a.py.orig": "x = 1\n"}, {}])
@pytest.mark.parametrize("kinds", [["file"], ["commit"], ["project"]])
def test_a_repository_without_source_is_explained(
    tmp_path: Path, files: dict[str, str | None], kinds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Tiny(tmp_path / "project")
    bare.commit(0, files)
    assert run(bare, "--kinds", *kinds, "--out", str(tmp_path / "health.csv")) == 1
    err = capsys.readouterr().err
    assert "no source file in the history of" in err and ".py" in err
    assert not (tmp_path / "health.csv").exists()


@pytest.mark.parametrize("kind", ["file", "commit"])
def test_a_date_without_rows_of_the_kind_is_explained(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    late = Tiny(tmp_path / "project")
    late.commit(0, {"README.md": "words\n"})
    late.commit(9, {"a.py": "x = 1\n"})
    assert run(late, "--kinds", kind, "--at", "2020-01-05") == 1
    err = capsys.readouterr().err
    assert f"has no {kind} with source by 2020-01-05 00:00 UTC" in err and "2020-01-10 00:00 UTC. Name a later" in err


def test_commits_with_impossible_dates_are_said_by_hash_and_now_stays_now(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = []
    for year in (2035, 2242, 9999):
        tiny.write({"a.py": f"a = {year}\n"})
        names.append(commit_raw(tiny, b"Ada <a@b> 1 +0000", f"Ada <a@b> {(year - 1970) * 31_557_600} +9999".encode()))
    assert run(tiny, "--out", str(tmp_path / "health.csv"), "--kinds", "file", "project", "commit", "--labels") == 0
    err = capsys.readouterr().err
    assert "left out 3 commits whose date is impossible" in err
    assert all(f"{name}: dated " in err for name in names)
    assert pd.read_csv(tmp_path / "health.csv")["moment"].max() == "2020-03-01 00:00:00+00:00"


def test_a_flood_of_impossible_dates_is_counted(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(NAMED + 2):
        commit_raw(tiny, b"Ada <a@b> 1 +0000", b"Ada <a@b>")
    assert run(tiny) == 0
    err = capsys.readouterr().err
    assert err.count("without a date") == NAMED and "and 2 more" in err


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_names_of_any_bytes_are_in_the_table_escaped(tiny: Tiny, tmp_path: Path, ending: str) -> None:
    names = {
        "caf\udce9.py": "caf\\xe9.py",
        "a\nb\t.py": "a\\nb\\t.py",
        '-x"y.py': '-x"y.py',
        "[/red]é.py": "[/red]é.py",
    }
    tiny.commit(70, dict.fromkeys(names, "x = 1\n"))
    file = tmp_path / f"health.{ending}"
    assert run(tiny, "--out", str(file), "--project", "[bold]\udcff", "--labels") == 0
    table = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file)
    assert set(names.values()) <= set(table["subject"])
    assert set(table["project"]) == {"[bold]\\xff"}


def test_a_name_like_markup_is_printed_as_it_is(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.commit(70, {"[/z].py": "x = 1\n"})
    assert run(tiny, "--kinds", "file") == 0
    assert "file b.py at 2020-03-11" in capsys.readouterr().out
    tiny.commit(80, {"b.py": None, "a.py": None})
    assert run(tiny, "--kinds", "file") == 0
    assert "file [/z].py at 2020-03-21" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["folder", "parent is a file", "missing and read-only"])
def test_an_output_that_cannot_be_written_is_said_before_the_work(
    tiny: Tiny, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "health.csv"
    match what:
        case "folder":
            file.mkdir()
        case "parent is a file":
            file.write_text("")
            file = file / "health.csv"
        case _:
            file = Path("/proc/nowhere/health.csv")
    assert run(tiny, "--out", str(file)) == 1
    err = capsys.readouterr().err
    assert "--out" in err and "ame a file in" in err and "commits read" not in err


def test_a_disk_that_fills_up_is_said_and_leaves_what_was_there(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(_table: pd.DataFrame, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(WRITERS, ".csv", fill)
    file = tmp_path / "health.csv"
    file.write_text("before")
    assert run(tiny, "--out", str(file)) == 1
    assert "No space left on device. Name a file" in capsys.readouterr().err
    assert file.read_text() == "before"
    assert {one.name for one in tmp_path.iterdir()} == {"project", "cache.sqlite", "health.csv"}


@pytest.mark.parametrize("arguments", [["--at", "2999-01-01"], ["--at", "9999-12-31T23:59:59-23:59"]])
def test_a_date_after_now_is_refused(tiny: Tiny, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tiny, *arguments)
    assert stopped.value.code == 2
    assert "expected --at until now" in capsys.readouterr().err


@pytest.mark.parametrize("date", ["0001-01-01", "0001-01-01T00:00+23:59", "1969-12-31"])
def test_a_date_of_any_age_has_an_end(tiny: Tiny, date: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny, "--at", date) == 1
    assert "after the first commit" in capsys.readouterr().err


def test_a_date_before_the_first_commit_is_explained(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tiny, "--at", "2019-01-01") == 1
    assert "after the first commit" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--every 90" in capsys.readouterr().out

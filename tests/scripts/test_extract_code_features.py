from pathlib import Path

import pandas as pd
import pytest

from models.code_health.features import FEATURES, NAMES
from scripts.extract_code_features import main
from tests.training.tiny_repository import Tiny


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
def test_a_table_is_written(tiny, tmp_path, ending):
    file = tmp_path / "new" / f"health.{ending}"
    assert run(tiny, "--every", "30", "--kinds", "file", "project", "commit", "--labels", "--out", str(file)) == 0
    table = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file, parse_dates=["moment"])
    assert list(table.columns) == [
        *("project", "kind", "subject", "moment"), *NAMES, *("risk", "bug", "impact", "repaired_days"),
    ]  # fmt: skip
    assert table["kind"].value_counts().to_dict() == {"file": 6, "project": 3, "commit": 3}
    first = table[(table["kind"] == "file") & (table["subject"] == "a.py")].iloc[0]
    assert (first["project"], str(first["moment"]), first["bug"]) == ("project", "2020-01-01 00:00:00+00:00", 1)


def test_without_a_file_the_project_is_printed_with_units(tiny, capsys):
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
        (["--out", "health.xlsx"], r"\.parquet"),
    ],
)
def test_a_wrong_argument_is_explained(tiny, arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tiny, *arguments)
    assert stopped.value.code == 2
    assert said.replace("\\", "") in capsys.readouterr().err


def test_a_folder_that_is_no_repository_is_explained(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "not a git repository" in capsys.readouterr().err


def test_a_date_before_the_first_commit_is_explained(tiny, capsys):
    assert run(tiny, "--at", "2019-01-01") == 1
    assert "after the first commit" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--every 90" in capsys.readouterr().out

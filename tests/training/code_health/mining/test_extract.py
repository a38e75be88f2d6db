import math
import shutil
from pathlib import Path
from typing import Never

import numpy as np
import pytest

from models.code_health.features import NAMES
from tests.training.code_health.tiny_repository import Tiny, module, seconds
from training.code_health.mining import git, workers
from training.code_health.mining.extract import Extracted, Extractor
from training.code_health.mining.file_metrics import Cache, CacheError, Measured, measure
from training.code_health.mining.git import GitError
from training.code_health.mining.history import read_history
from training.code_health.mining.szz import repairs

CORE = module("import os", "", "", "def f(a):", "    if a:", "        return os.sep", "    return a")


def build(folder: Path) -> Tiny:
    """Forty days: two authors, a side branch, a rename, a repair, a file that goes."""
    tiny = Tiny(folder)
    tiny.commit(0, {"pkg/core.py": CORE, "pkg/old.py": module(before=12), "README.md": "words\n"})
    tiny.commit(2, {"tests/test_core.py": module("import pkg.core")}, author="Bob")
    tiny.branch("side")
    tiny.commit(3, {"pkg/side.py": module("from pkg import core", before=3)}, author="Cy")
    tiny.git("checkout", "-q", "main")
    tiny.commit(10, {"pkg/core.py": CORE + module("x = 1", "y = 2")}, "Fix the core", author="Bob")
    tiny.merge(20, "side")
    tiny.commit(30, {"pkg/old.py": None, "pkg/new.py": module(before=12)}, "Rename")
    tiny.commit(40, {"pkg/side.py": None, "pkg/core.py": CORE}, "Drop side")
    return tiny


def extractor(tiny: Tiny, cache: Path | None = None) -> Extractor:
    return Extractor(read_history(tiny.folder), Cache(cache))


def row(extracted: Extracted, subject: str, day: float | None = None) -> dict[str, float]:
    places = [
        place
        for place, name in enumerate(extracted.subject)
        if name == subject and (day is None or extracted.moment_s[place] == seconds(day))
    ]
    assert len(places) == 1
    return dict(zip(NAMES, extracted.features[places[0]].tolist(), strict=True))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("built") / "project")


@pytest.fixture
def tiny(built: Tiny, tmp_path: Path) -> Tiny:
    """A copy, to be changed."""
    shutil.copytree(built.folder, tmp_path / "project", symlinks=True)
    return Tiny(tmp_path / "project")


def test_a_file_at_a_date_is_described_as_a_person_would(tiny: Tiny) -> None:
    told = row(extractor(tiny).files([seconds(12)]), "pkg/core.py")
    expected = {
        **{"changes": 2, "contributors": 2, "commit_frequency": 2, "velocity": 2 / 3, "fix_share": 0.5},
        **{"lines_added": 4.5, "lines_deleted": 0, "age": 12, "days_since_change": 2, "lines_of_code": 9},
        **{"author_experience": (2 + 2) / 2, "subsystem_experience": (2 + 1) / 2, "files": 1, "directories": 1},
        **{"functions": 1, "cyclomatic_complexity": 2, "cyclomatic_max": 2, "complex_functions": 0},
        **{"function_length": 4, "fan_out": 1, "fan_in": 1, "test_coverage": 1, "duplication": 0, "debt_markers": 0},
        **{"growth": 1, "stability": 0.5, "branch_complexity": 0, "merge_conflict_ratio": 0},
        "recent_experience": (2 + 1 + 1 / 9) / 2,
        "hotspot": math.log(3) * math.log(10),
        "acceleration": math.log(3),
        "change_entropy": (-(7 / 19) * math.log2(7 / 19) - (12 / 19) * math.log2(12 / 19)) / 2,
        "nesting": 4 / 7,
        "documentation": 0,
    }
    assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert set(told) - set(expected) == {"seasonality"} and math.isnan(told["seasonality"])


def test_the_project_counts_each_commit_once_and_all_of_its_files(tiny: Tiny) -> None:
    extracted = extractor(tiny).files([seconds(25)])
    assert extracted.kind == ["file"] * 4 + ["project"]
    told = row(extracted, extracted.subject[-1])
    assert (told["files"], told["contributors"], told["changes"]) == (4, 3, 5 / 4)
    assert told["velocity"] == pytest.approx(4 / 3)
    assert told["branch_complexity"] == pytest.approx(17 / 90)
    assert told["test_coverage"] == pytest.approx(9 / 25)


def test_a_side_branch_is_not_there_before_it_is_merged(tiny: Tiny) -> None:
    assert "pkg/side.py" not in extractor(tiny).files([seconds(12)]).subject
    assert row(extractor(tiny).files([seconds(25)]), "pkg/side.py")["age"] == 5


def test_a_renamed_file_keeps_its_history(tiny: Tiny) -> None:
    told = row(extractor(tiny).files([seconds(40)]), "pkg/new.py")
    assert (told["changes"], told["age"], told["days_since_change"]) == (2, 40, 10)


def test_a_commit_is_described_as_it_arrives(tiny: Tiny) -> None:
    extracted = extractor(tiny).commits()
    repository = read_history(tiny.folder)
    assert len(extracted.subject) == 6, "a merge changes nothing itself"
    fix = row(extracted, repository.hashes[2])
    expected = {"lines_added": 2, "fix_share": 1, "days_since_change": 10, "files": 1, "contributors": 2, "changes": 2}
    assert {name: fix[name] for name in expected} == expected
    last = row(extracted, repository.hashes[-1])
    assert (last["files"], last["lines_of_code"], last["lines_deleted"]) == (2, 7, 6), "a file that goes is counted"


def test_a_commit_of_one_file_shares_the_file_s_history(tiny: Tiny) -> None:
    day, names = 10, ("commit_frequency", "changes", "contributors", "velocity", "acceleration", "age", "stability")
    commit = row(extractor(tiny).commits(), read_history(tiny.folder).hashes[2])
    file = row(extractor(tiny).files([seconds(day)]), "pkg/core.py")
    assert {name: commit[name] for name in names} == {name: file[name] for name in names}


def test_commits_end_at_the_date_that_is_asked_for(tiny: Tiny) -> None:
    assert len(extractor(tiny).commits(seconds(15)).subject) == 3


def test_commits_read_the_whole_project_from_the_survey_before_them(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"pkg/core.py": CORE, "tests/test_core.py": module("import pkg.core")})
    tiny.commit(100, {"pkg/core.py": CORE + "x = 1\n"})
    extracted = extractor(tiny).commits()
    first, second = (row(extracted, name) for name in extracted.subject)
    assert math.isnan(first["fan_in"]) and math.isnan(first["test_coverage"])
    assert (second["fan_in"], second["test_coverage"]) == (1, 1)


DAYS = (0, 5, 12, 25, 35, 45)


def described(tiny: Tiny) -> list[tuple[list[str], np.ndarray]]:
    files = extractor(tiny).files(map(seconds, DAYS))
    commits = extractor(tiny).commits(seconds(45))
    return [(one.subject, one.features) for one in (files, commits)]


def test_no_row_looks_past_its_date(tiny: Tiny) -> None:
    """The future brings repairs, renames, deletions, an old branch and a wrong clock; the past stays as it was."""
    tiny.git("checkout", "-q", "-b", "late", "HEAD~2")
    tiny.commit(31, {"pkg/core.py": CORE + module("late = 1"), "pkg/late.py": "z = 1\n"}, author="Dee")
    tiny.git("checkout", "-q", "main")
    before = described(tiny)
    assert sum(len(subjects) for subjects, _ in before) > 20
    tiny.commit(50, {"pkg/core.py": "broken = (\n", "pkg/new.py": None, "pkg/newer.py": module(before=12)})
    tiny.merge(60, "late", {"pkg/core.py": "merged = 1\n"}, author="Eve")
    tiny.commit(30, {"pkg/core.py": "clock = 'back'\n", "tests/test_new.py": "import pkg.newer\n"}, "Fix a crash")
    tiny.commit(90, {"pkg/old.py": "x = 1\n", "pkg/side.py": "y = 1\n"}, author="Ada")
    for (subjects, features), (later_subjects, later_features) in zip(before, described(tiny), strict=True):
        assert later_subjects == subjects
        np.testing.assert_array_equal(later_features, features)


def test_what_the_cache_knows_is_not_measured_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extractor(tiny, tmp_path / "cache.sqlite").files([seconds(45)])

    def measured_again(path: str, content: bytes) -> Never:
        raise AssertionError(path)

    monkeypatch.setattr(workers, "measure", measured_again)
    second = extractor(tiny, tmp_path / "cache.sqlite").files([seconds(45)])
    np.testing.assert_array_equal(second.features, first.features)
    tiny.commit(50, {"pkg/fresh.py": "x = 1\n"})
    with pytest.raises(AssertionError, match=r"name\.py"):
        extractor(tiny, tmp_path / "cache.sqlite").files([seconds(55)])


def test_an_interrupted_run_keeps_what_it_measured(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    whole, most = measure, 2

    def interrupted(path: str, content: bytes) -> Measured:
        if len(calls) == most:
            raise KeyboardInterrupt
        calls.append(content)
        return whole(path, content)

    monkeypatch.setattr(workers, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extractor(tiny, tmp_path / "cache.sqlite").files([seconds(25)])
    most = 100
    extractor(tiny, tmp_path / "cache.sqlite").files([seconds(25)])
    assert len(calls) == len(set(calls)) == 4


def test_several_processes_measure_what_one_does(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FEW", 1)
    repository = read_history(tiny.folder)
    one, three = (Extractor(repository, Cache(None), jobs).files([seconds(25)]).features for jobs in (1, 3))
    np.testing.assert_array_equal(three, one)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_missing_blob_is_told_by_the_processes_that_look_for_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], jobs: int
) -> None:
    monkeypatch.setattr(workers, "FEW", 1)
    objects = read_history(tiny.folder).objects
    with pytest.raises(GitError, match=r"is damaged.* fsck --full.*said: (1{40}|2{40}) missing"):
        list(workers.measured(objects, [("1" * 40, "py"), ("2" * 40, "py")], jobs))
    assert not capfd.readouterr().err


def test_a_moment_before_the_first_commit_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="after the first commit"):
        extractor(tiny).files([seconds(-1)])


def test_a_project_without_source_has_a_row(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"README.md": "words\n"})
    extracted = extractor(tiny).files([seconds(1)])
    assert extracted.kind == ["project"]
    assert extracted.features[0, NAMES.index("files")] == 0
    assert extractor(tiny).commits().features.shape == (0, 35)


def test_the_table_has_a_column_per_feature(tiny: Tiny) -> None:
    table = extractor(tiny).files([seconds(45)]).frame("tiny")
    assert list(table.columns) == ["project", "kind", "subject", "moment", *NAMES]
    assert str(table["moment"].iloc[0]) == "2020-02-15 00:00:00+00:00"


@pytest.mark.parametrize(
    "content",
    [
        b"\x47\x40\x00\x10" + bytes(range(256)) * 40,
        b"\x7fELF" + b"\0" * 5000,
        "\ufeffclass A {}\r\n".encode("utf-16"),
    ],
)
def test_a_binary_file_with_a_source_ending_has_a_row_without_code(tiny: Tiny, content: bytes) -> None:
    (tiny.folder / "pkg" / "video.ts").write_bytes(content)
    tiny.commit(50, {})
    (tiny.folder / "pkg" / "video.ts").write_bytes(content + b"more\n")
    name = tiny.commit(60, {}, "Fix the video")
    told = row(extractor(tiny).files([seconds(60)]), "pkg/video.ts")
    assert (told["changes"], told["age"]) == (2, 10)
    assert all(math.isnan(told[one]) for one in ("cyclomatic_complexity", "functions", "duplication", "nesting"))
    assert row(extractor(tiny).commits(), name)["files"] == 1


def test_a_huge_file_has_a_row_without_code(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MOST_BYTES", 2000)
    tiny.commit(50, {"pkg/data.py": "data = 1\n" * 300})
    tiny.commit(60, {"pkg/data.py": "data = 2\n" * 300}, "Fix the data")
    told = row(extractor(tiny).files([seconds(60)]), "pkg/data.py")
    assert told["changes"] == 2 and math.isnan(told["functions"])
    assert len(repairs(read_history(tiny.folder)).lines) == 1, "git itself compares it, as it is not told the limit"


def test_empty_files_and_files_without_a_last_line_break_are_described(tiny: Tiny) -> None:
    tiny.commit(50, {"pkg/__init__.py": "", "pkg/end.py": "x = 1", "pkg/cr.py": "x = 1\r\ny = 2\r\n"})
    extracted = extractor(tiny).files([seconds(60)])
    assert [row(extracted, f"pkg/{name}.py")["lines_of_code"] for name in ("__init__", "end", "cr")] == [0, 1, 2]


@pytest.mark.parametrize("how", ["folder", "words", "parent is a file"])
def test_a_cache_that_cannot_be_kept_is_explained(tmp_path: Path, how: str) -> None:
    file = tmp_path / "cache.sqlite"
    match how:
        case "folder":
            file.mkdir()
        case "words":
            file.write_text("this is no database, but long enough to be looked at as one\n" * 20)
        case _:
            file.write_text("")
            file = file / "cache.sqlite"
    with pytest.raises(
        CacheError, match=r"cannot keep measures of code in .*cache\.sqlite: .*name another with --cache"
    ):
        Cache(file)

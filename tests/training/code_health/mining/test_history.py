from pathlib import Path

import numpy as np
import pytest

from tests.training.code_health.tiny_repository import Tiny, seconds
from training.code_health.mining.git import GitError
from training.code_health.mining.history import Repository, is_source, read_history


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path / "project")


def file_of(repository: Repository, path: str) -> list[int]:
    """The file that each change to a path was about, in order."""
    return [
        int(file)
        for file, change in zip(repository.history.file, repository.changes, strict=True)
        if path in {change.path, change.old_path}
    ]


def test_a_side_branch_arrives_with_its_merge_however_old_it_is(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": "x = 1\n"})
    tiny.branch("side")
    side = tiny.commit(1, {"b.py": "y = 1\n"}, author="Bob")
    tiny.git("checkout", "-q", "main")
    second = tiny.commit(5, {"a.py": "x = 2\n"})
    merge = tiny.merge(9, "side")
    repository = read_history(tiny.folder)
    assert repository.hashes == [first, second, side, merge]
    assert repository.history.time_s.tolist() == [seconds(0), seconds(5), seconds(9), seconds(9)]
    assert repository.history.merge.tolist() == [False, False, False, True]
    assert repository.history.fork_s[3] == seconds(1)
    assert repository.arrived(seconds(8)) == 2
    assert repository.tip(2) == second
    assert repository.tip(3) == second, "half of a merge is not there yet"


def test_arrivals_never_go_back_when_a_clock_does(tiny: Tiny) -> None:
    for day in (3, 1, 7):
        tiny.commit(day, {"a.py": f"x = {day}\n"})
    assert read_history(tiny.folder).history.time_s.tolist() == [seconds(3), seconds(3), seconds(7)]


def test_a_renamed_file_stays_the_same_file_and_its_old_name_is_free(tiny: Tiny) -> None:
    body = "".join(f"line_{number} = {number}\n" for number in range(20))
    tiny.commit(0, {"a.py": body})
    tiny.commit(1, {"a.py": None, "b.py": body + "more = 1\n"})
    tiny.commit(2, {"b.py": body})
    tiny.commit(3, {"a.py": "another = 1\n"})
    repository = read_history(tiny.folder)
    assert file_of(repository, "b.py") == [0, 0]
    assert repository.history.file.tolist() == [0, 0, 0, 1]


def test_a_file_that_comes_back_is_the_same_file(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    tiny.commit(1, {"a.py": None})
    tiny.commit(2, {"a.py": "x = 1\n"})
    assert read_history(tiny.folder).history.file.tolist() == [0, 0, 0]


def test_names_of_any_kind_are_read(tiny: Tiny) -> None:
    names = ["a b.py", "tab\there.py", "line\nbreak.py", ":colon.py", 'quote".py', "déjà/vu.py", "-dash.py"]
    tiny.commit(0, {name: "x = 1\n" for name in names})
    tiny.commit(1, {name: "x = 1\ny = 2\n" for name in names})
    repository = read_history(tiny.folder)
    assert {change.path for change in repository.changes} == set(names)
    assert repository.history.added.tolist() == [1] * 14


def test_only_source_files_count(tiny: Tiny) -> None:
    tiny.commit(0, {"README.md": "words\n", "a.py": "x = 1\n", "vendor/b.py": "y = 1\n", "c.min.js": "z\n"})
    (tiny.folder / "link.py").symlink_to("a.py")
    tiny.commit(1, {})
    assert [change.path for change in read_history(tiny.folder).changes] == ["a.py"]


@pytest.mark.parametrize("path", ["a.py", "src/B.java", "x/y.go", "lib.rs", "t.tsx"])
def test_source_is_known_by_its_ending(path: str) -> None:
    assert is_source(path)


def test_merges_repair_nothing_themselves(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    tiny.branch("bugfix")
    tiny.commit(1, {"b.py": "y = 1\n"}, "Fix the parser")
    tiny.merge(2, "bugfix")
    assert read_history(tiny.folder).history.fixes.tolist() == [False, True, False]


def test_a_merge_in_which_both_sides_changed_a_file_is_told_apart(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    ways: list[dict[str, str | None] | None] = [None, {"a.py": "x = 4\n"}]
    for number, resolved in enumerate(ways):
        tiny.branch(f"side{number}")
        tiny.commit(3 * number + 1, {"a.py": f"x = {number + 2}\n"})
        tiny.git("checkout", "-q", "main")
        tiny.commit(3 * number + 2, {"b.py": f"y = {number}\n", **({"a.py": "x = 9\n"} if resolved else {})})
        tiny.merge(3 * number + 3, f"side{number}", resolved)
    history = read_history(tiny.folder).history
    assert history.conflicted[history.merge].tolist() == [False, True]


def test_a_shallow_clone_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    tiny.commit(1, {"a.py": "x = 2\n"})
    tiny.git("clone", "-q", "--depth", "1", f"file://{tiny.folder}", str(tmp_path / "shallow"))
    with pytest.raises(GitError, match="fetch --unshallow"):
        read_history(tmp_path / "shallow")


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        read_history(tmp_path)


def test_an_unknown_revision_is_refused(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    with pytest.raises(GitError, match="it has no commit '--help'"):
        read_history(tiny.folder, "--help")


def test_nothing_that_a_repository_configures_is_run(tiny: Tiny, tmp_path: Path) -> None:
    tiny.commit(0, {"a.py": "x = 1\n", ".gitattributes": "*.py diff=trap\n"})
    tiny.commit(1, {"a.py": "x = 2\n"})
    marker = tmp_path / "ran"
    tiny.git("config", "diff.external", f"touch {marker}")
    tiny.git("config", "diff.trap.textconv", f"touch {marker}; cat")
    tiny.git("config", "diff.trap.command", f"touch {marker}")
    tiny.git("config", "diff.renames", "false")
    repository = read_history(tiny.folder)
    assert not marker.exists()
    assert repository.history.added.tolist() == [1, 1]


def test_no_commits_at_all_is_refused(tiny: Tiny) -> None:
    with pytest.raises(GitError):
        read_history(tiny.folder)


def test_a_history_without_source_is_read(tiny: Tiny) -> None:
    tiny.commit(0, {"README.md": "words\n"})
    history = read_history(tiny.folder).history
    assert len(history.time_s) == 1
    assert history.file.dtype == np.int64 and not len(history.file)

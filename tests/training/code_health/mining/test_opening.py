"""Exactly the repository that is named is read, or the words say what to name instead."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.training.code_health.tiny_repository import Tiny
from training.code_health.mining.git import GitError
from training.code_health.mining.history import read_history


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"pkg/a.py": "x = 1\n", "b.py": "y = 1\n"})
    tiny.commit(1, {"pkg/a.py": "x = 2\n"})
    return tiny


def refused(folder: Path, revision: str = "HEAD") -> str:
    with pytest.raises(GitError) as told:
        read_history(folder, revision)
    said = str(told.value)
    assert not re.search("fatal|Traceback", said)
    return said


@pytest.mark.parametrize("inside", ["pkg", ".git/objects", "pkg/deep/er"])
def test_a_folder_inside_a_repository_is_refused_with_the_repository_s_name(tiny: Tiny, inside: str) -> None:
    (tiny.folder / inside).mkdir(parents=True, exist_ok=True)
    said = refused(tiny.folder / inside)
    assert "is a folder inside the git repository" in said
    assert f"{tiny.folder}: name that repository" in said or f"{tiny.folder}/.git: name that repository" in said


def test_a_repository_inside_another_is_read_and_not_the_other(tiny: Tiny) -> None:
    inner = Tiny(tiny.folder / "inner")
    inner.commit(0, {"inner.py": "z = 1\n"})
    assert [change.path for change in read_history(inner.folder).changes] == ["inner.py"]


def test_an_empty_git_folder_does_not_lead_to_the_repository_around_it(tiny: Tiny) -> None:
    (tiny.folder / "pkg" / ".git").mkdir()
    assert "git cannot open" in refused(tiny.folder / "pkg")


def test_any_form_of_the_same_repository_says_the_same(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.git("clone", "-q", "--bare", str(tiny.folder), str(tmp_path / "bare: of\nit.git"))
    tiny.git("clone", "-q", "--mirror", str(tiny.folder), str(tmp_path / "mirror"))
    tiny.git("worktree", "add", "-q", str(tmp_path / "tree"), "HEAD")
    tiny.git("init", "-q", f"--separate-git-dir={tmp_path / 'apart'}")
    (tmp_path / "link").symlink_to("project")
    monkeypatch.chdir(tmp_path)
    forms = ["bare: of\nit.git", "mirror", "tree", "project", "apart", "link", "./link/../project/"]
    told = [read_history(Path(form)).hashes for form in forms]
    assert all(hashes == told[0] for hashes in told) and len(told[0]) == 2


def test_the_files_of_submodules_are_not_the_project_s(tiny: Tiny, tmp_path: Path) -> None:
    inner = Tiny(tmp_path / "inner")
    inner.commit(0, {"inner.py": "z = 1\n"})
    tiny.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.folder), "lib")
    tiny.commit(2, {})
    assert {change.path for change in read_history(tiny.folder).changes} == {"pkg/a.py", "b.py"}
    assert {change.path for change in read_history(tiny.folder / "lib").changes} == {"inner.py"}


def test_links_that_lead_in_circles_are_no_files(tiny: Tiny) -> None:
    (tiny.folder / "loop.py").symlink_to("loop.py")
    (tiny.folder / "around").symlink_to("../project")
    tiny.commit(2, {})
    assert {change.path for change in read_history(tiny.folder).changes} == {"pkg/a.py", "b.py"}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nothing", "there is no folder"),
        ("folder", "is not a git repository: expected a folder with .git in it"),
        ("file", "is a file: expected the folder of a git repository"),
        ("loop", "cannot be read (Too many levels of symbolic links)"),
        ("gitfile", "git cannot open"),
        ("bytes\udcff", "there is no folder"),
    ],
)  # fmt: skip
def test_what_is_no_repository_is_explained(tmp_path: Path, what: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gitfile").mkdir()
    (tmp_path / "gitfile" / ".git").write_text("gitdir: ../gone/.git\n")
    assert said in refused(tmp_path / what)
    refused(tmp_path / what).encode()


@pytest.mark.parametrize("bare", [True, False])
def test_a_repository_without_commits_is_explained(tmp_path: Path, bare: bool) -> None:
    subprocess.run(["git", "init", "-q", *(["--bare"] if bare else []), str(tmp_path / "new")], check=True)
    assert "has no commits yet: expected a repository with a history" in refused(tmp_path / "new")


def test_a_detached_head_is_read_from_there(tiny: Tiny) -> None:
    tiny.git("checkout", "-q", "HEAD~1")
    assert len(read_history(tiny.folder).hashes) == 1
    assert len(read_history(tiny.folder, "main").hashes) == 2


def test_a_head_that_names_a_missing_branch_is_explained_with_those_there_are(tiny: Tiny) -> None:
    tiny.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    said = refused(tiny.folder)
    assert "its HEAD names refs/heads/trunk, which is not there" in said
    assert said.endswith("Name one with --revision, such as main")
    assert len(read_history(tiny.folder, "main").hashes) == 2


@pytest.mark.parametrize("content", ["", "\0" * 41, "words\n"])
def test_a_branch_that_a_power_cut_emptied_is_explained(tiny: Tiny, content: str) -> None:
    (tiny.folder / ".git" / "refs" / "heads" / "main").write_text(content)
    said = refused(tiny.folder)
    assert "refs/heads/main holds no hash of a commit" in said and "logs/refs/heads/main has those of before" in said


def test_a_missing_head_is_explained(tiny: Tiny) -> None:
    (tiny.folder / ".git" / "HEAD").unlink()
    assert "see that " in refused(tiny.folder)


@pytest.mark.parametrize(
    "revision",
    ["--help", "nobranch", "HEAD:b.py", "1" * 40, "", "a\nb", "\udcff", "nul\0", "HEAD~7", "@{9}", "HEAD^{tree}"],
)
def test_an_unknown_revision_is_explained(tiny: Tiny, revision: str) -> None:
    said = refused(tiny.folder, revision)
    assert "it has no commit" in said and said.endswith("Name one with --revision, such as main")
    said.encode()


@pytest.mark.parametrize("revision", ["main", "HEAD~1", "v1", "main@{0}", ":/Work"])
def test_any_name_of_a_commit_is_understood(tiny: Tiny, revision: str) -> None:
    tiny.git("tag", "-a", "v1", "-m", "One")
    assert read_history(tiny.folder, revision).hashes


@pytest.mark.parametrize("form", ["work tree", "bare", "worktree of it"])
def test_a_shallow_clone_is_refused_and_can_be_completed(tiny: Tiny, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "it's shallow"
    bare = ["--bare"] if form == "bare" else []
    tiny.git("clone", "-q", "--depth", "1", *bare, f"file://{tiny.folder}", str(folder))
    if form == "worktree of it":
        subprocess.run(
            ["git", "-C", folder, "worktree", "add", "-q", tmp_path / "tree"], check=True, capture_output=True
        )
        folder = tmp_path / "tree"
    said = refused(folder)
    [command] = re.findall("`(.*)`", said)
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert len(read_history(folder).hashes) == 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder to another user")
@pytest.mark.parametrize("bare", [True, False])
def test_a_repository_of_another_user_is_read(tiny: Tiny, tmp_path: Path, bare: bool) -> None:
    """Git itself refuses it ("dubious ownership"), because of what a configuration might run; here nothing is."""
    folder = tmp_path / "theirs"
    tiny.git("clone", "-q", *(["--bare"] if bare else []), str(tiny.folder), str(folder))
    for path in [folder, *folder.rglob("*")]:
        os.lchown(path, 12345, 12345)
    refusing = subprocess.run(["git", "-C", folder, "log"], capture_output=True, text=True, check=False)
    assert "dubious ownership" in refusing.stderr
    assert len(read_history(folder).hashes) == 2


def test_a_repository_of_a_newer_format_is_explained(tiny: Tiny) -> None:
    tiny.git("config", "core.repositoryFormatVersion", "1")
    tiny.git("config", "extensions.fromTheFuture", "1")
    assert "fromthefuture" in refused(tiny.folder)


def test_a_broken_configuration_is_explained(tiny: Tiny) -> None:
    (tiny.folder / ".git" / "config").write_text("[core\n")
    assert "bad config line 1" in refused(tiny.folder)

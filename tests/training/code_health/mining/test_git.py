"""Whatever is set around a repository, or in it beside its objects, the same rows come out and nothing is run."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.training.code_health.mining.repositories import object_file
from tests.training.code_health.tiny_repository import Tiny, module
from training.code_health.mining import git
from training.code_health.mining.extract import Extractor
from training.code_health.mining.file_metrics import Cache
from training.code_health.mining.git import Blobs, GitError, Objects, escaped, fault
from training.code_health.mining.history import read_history
from training.code_health.mining.szz import repairs
from training.code_health.mining.targets import labels


def rows(folder: Path) -> pd.DataFrame:
    repository = read_history(folder)
    found = repairs(repository)
    extractor = Extractor(repository, Cache(None), 1)
    parts = [extractor.files(repository.history.time_s[[5, -1]].tolist()), extractor.commits()]
    return pd.concat(
        [pd.concat([part.frame("project"), labels(repository, part, found)], axis=1) for part in parts],
        ignore_index=True,
    )


def build(tiny: Tiny) -> None:
    """Renames, a merge that differs, names that git quotes, a repair, messages in two encodings."""
    tiny.commit(0, {"a.py": module("a = 1", before=30), "b.py": module("b = 1", before=9)})
    tiny.commit(1, {"a.py": None, "déjà.py": module("a = 2", before=30)}, "Rename", author="Zoë")
    tiny.branch("side")
    tiny.commit(2, {"b.py": module("b = 2", before=9)}, author="Bob")
    tiny.git("checkout", "-q", "main")
    tiny.commit(3, {"b.py": module("b = 3", before=9)})
    tiny.merge(4, "side", {"b.py": module("b = 4", before=9)})
    tiny.commit(5, {"tab\t.py": module("t = 1"), "b.py": module("b = 5", before=9)}, "Fix the sums")
    tiny.commit(9, {"b.py": module("b = 6", before=12)}, "Fix the rest")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, pd.DataFrame]:
    tiny = Tiny(tmp_path_factory.mktemp("built") / "project")
    build(tiny)
    return tiny, rows(tiny.folder)


@pytest.fixture
def other(tmp_path: Path) -> Tiny:
    """Another repository, which must not be read."""
    tiny = Tiny(tmp_path / "other")
    tiny.commit(0, {"other.py": "x = 1\n"})
    return tiny


def trap(folder: Path) -> tuple[Path, str]:
    """Return a file that is there once the program, which is returned too, was run."""
    program = folder / "trap.sh"
    program.write_text(f"#!/bin/sh\ntouch {folder / 'ran'}\ncat\n")
    program.chmod(0o755)
    return folder / "ran", str(program)


ENVIRONMENTS: dict[str, Callable[[Path, Path], dict[str, str]]] = {
    "a hook's": lambda other, _: {
        "GIT_DIR": f"{other}/.git",
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": f"{other}/.git/index",
        "GIT_PREFIX": "sub/",
    },
    "other objects": lambda other, _: {
        "GIT_OBJECT_DIRECTORY": f"{other}/.git/objects",
        "GIT_COMMON_DIR": f"{other}/.git",
        "GIT_NAMESPACE": "x",
        "GIT_SHALLOW_FILE": "/dev/null",
    },
    "options": lambda _, scratch: {
        "GIT_CONFIG_COUNT": "3",
        **{"GIT_CONFIG_KEY_0": "diff.renames", "GIT_CONFIG_VALUE_0": "false"},
        **{"GIT_CONFIG_KEY_1": "core.quotePath", "GIT_CONFIG_VALUE_1": "true"},
        **{"GIT_CONFIG_KEY_2": "diff.external", "GIT_CONFIG_VALUE_2": trap(scratch)[1]},
        "GIT_CONFIG_PARAMETERS": "'log.date'='relative'",
    },
    "programs": lambda _, scratch: {
        **dict.fromkeys(("GIT_PAGER", "PAGER", "GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_ASKPASS"), trap(scratch)[1]),
        "GIT_EXEC_PATH": str(scratch),
    },
    "ways to look": lambda other, _: {
        **{"GIT_CEILING_DIRECTORIES": "/", "GIT_DISCOVERY_ACROSS_FILESYSTEM": "0", "GIT_DIFF_OPTS": "-u9"},
        **{"GIT_LITERAL_PATHSPECS": "1", "GIT_ICASE_PATHSPECS": "1", "GIT_ATTR_SOURCE": "HEAD", "GIT_TRACE": "2"},
        **{"GIT_REPLACE_REF_BASE": "refs/heads/", "GIT_GRAFT_FILE": f"{other}/a.py", "LC_ALL": "fr_FR.UTF-8"},
    },
}


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_the_environment_changes_nothing(
    built: tuple[Tiny, pd.DataFrame], other: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tiny, before = built
    for name, value in ENVIRONMENTS[kind](other.folder, tmp_path).items():
        monkeypatch.setenv(name, value)
    pd.testing.assert_frame_equal(rows(tiny.folder), before)
    assert not (tmp_path / "ran").exists()


CONFIGURATION = """
[core]
    quotePath = true
    fsmonitor = {program}
    pager = {program}
    hooksPath = {folder}
    attributesFile = {folder}/attributes
    precomposeUnicode = true
    abbrev = 7
    sshCommand = {program}
[log]
    showSignature = true
    date = relative
    follow = true
    decorate = full
    mailmap = true
    diffMerges = first-parent
    excludeDecoration = *
    showRoot = false
[diff]
    renames = false
    renameLimit = 1
    noprefix = true
    mnemonicPrefix = true
    external = {program}
    algorithm = patience
    orderFile = {folder}/attributes
    ignoreSubmodules = all
    relative = true
    suppressBlankEmpty = true
    submodule = log
    wsErrorHighlight = all
    colorMoved = zebra
    context = 9
    interHunkContext = 9
[color]
    ui = always
[format]
    pretty = oneline
[i18n]
    logOutputEncoding = ISO-8859-1
    commitEncoding = ISO-8859-1
[mailmap]
    file = {folder}/mailmap
[pager]
    log = {program}
[alias]
    log = status
[gpg]
    program = {program}
[diff "trap"]
    textconv = {program}
    command = {program}
    binary = true
[filter "trap"]
    clean = {program}
    smudge = {program}
    process = {program}
    required = true
[safe]
    bareRepository = explicit
[feature]
    manyFiles = true
"""


def configure(folder: Path) -> str:
    (folder / "attributes").write_text("*.py diff=trap filter=trap binary\n")
    (folder / "mailmap").write_text("Ada <Ada@example.org> Bob <Bob@example.org>\n")
    return CONFIGURATION.format(folder=folder, program=trap(folder)[1])


@pytest.mark.parametrize("place", ["user", "xdg", "repository", "worktree"])
def test_the_configuration_changes_nothing_and_no_program_of_it_is_run(
    built: tuple[Tiny, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = built[1]
    tiny = Tiny(tmp_path / "project")
    build(tiny)
    said = configure(tmp_path)
    match place:
        case "user":
            monkeypatch.setenv("HOME", str(tmp_path))
            (tmp_path / ".gitconfig").write_text(said)
        case "xdg":
            monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
            (tmp_path / "git").mkdir()
            (tmp_path / "git" / "config").write_text(said)
        case "repository":
            (tiny.folder / ".git" / "info" / "attributes").write_text("*.py diff=trap filter=trap binary -text\n")
            with (tiny.folder / ".git" / "config").open("a") as file:
                file.write(said)
        case "worktree":
            (tiny.folder / ".gitattributes").write_text("*.py -diff\n")
            (tiny.folder / ".mailmap").write_text("Ada <Ada@example.org> Bob <Bob@example.org>\n")
            (tiny.folder / "b.py").write_text("not committed\n")
    pd.testing.assert_frame_equal(rows(tiny.folder), before)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["replace", "graft", "hooks", "no index", "commit-graph", "packed", "gone work tree"])
def test_what_lies_beside_the_objects_changes_nothing(
    built: tuple[Tiny, pd.DataFrame], tmp_path: Path, kind: str
) -> None:
    tiny = Tiny(tmp_path / "project")
    build(tiny)
    directory, head = tiny.folder / ".git", tiny.git("rev-parse", "HEAD")
    match kind:
        case "replace":
            tiny.git("replace", head, "HEAD~3")
        case "graft":
            (directory / "info" / "grafts").write_text(f"{head}\n")
        case "hooks":
            for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "pre-auto-gc"):
                os.symlink(trap(tmp_path)[1], directory / "hooks" / name)
        case "no index":
            (directory / "index").write_bytes(b"broken")
        case "commit-graph":
            tiny.git("commit-graph", "write", "--reachable")
            [graph] = (directory / "objects" / "info").glob("commit-graph*")
            graph.chmod(0o644)
            graph.write_bytes(graph.read_bytes()[:-400] + b"x" * 400)
        case "packed":
            tiny.git("gc", "-q")
            tiny.git("pack-refs", "--all")
        case "gone work tree":
            tiny.git("config", "core.worktree", "../../nowhere")
    pd.testing.assert_frame_equal(rows(tiny.folder), built[1])
    assert not (tmp_path / "ran").exists()


def test_sha256_repositories_are_read(built: tuple[Tiny, pd.DataFrame], tmp_path: Path) -> None:
    folder = tmp_path / "project"
    subprocess.run(["git", "init", "-q", "-b", "main", "--object-format=sha256", str(folder)], check=True)
    tiny = Tiny(folder)
    build(tiny)
    told, before = rows(folder), built[1]
    files = before["kind"] == "file"
    pd.testing.assert_frame_equal(told[files], before[files])
    assert len(told["subject"].iloc[-1]) == 64


@pytest.mark.parametrize(
    ("git_program", "said"),
    [
        (None, r"git cannot be run \(No such file or directory\): install it"),
        ("echo git version 2.17.1", r"git 2\.17 is too old: expected 2\.30 or newer; install a newer one"),
        ("echo what?", r"expected `git --version` to print a version, got 'what\?'"),
    ],
)
def test_no_git_of_use_is_explained(
    built: tuple[Tiny, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    git_program: str | None,
    said: str,
) -> None:
    if git_program is not None:
        (tmp_path / "git").write_text(f"#!/bin/sh\n{git_program}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=said):
        read_history(built[0].folder)


def test_no_space_for_temporary_files_is_explained(
    built: tuple[Tiny, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git._empty.cache_clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(GitError, match="set TMPDIR to one with space"):
        read_history(built[0].folder)


@pytest.mark.parametrize("what", ["HEAD~1:a.py", "HEAD~1:", "HEAD~1", "HEAD", "HEAD:"])
@pytest.mark.parametrize("how", ["gone", "cut", "empty"])
def test_a_damaged_object_is_explained(tmp_path: Path, what: str, how: str) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"a.py": "a = 1\n"})
    tiny.commit(1, {"a.py": "a = 2\n"})
    tiny.commit(2, {"b.py": "b = 2\n"})
    file = object_file(tiny, tiny.git("rev-parse", what))
    match how:
        case "gone":
            file.unlink()
        case "cut":
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:9])
        case _:
            file.chmod(0o644)
            file.write_bytes(b"")
    with pytest.raises(GitError, match="is damaged: git cannot read an object of it") as told:
        rows(tiny.folder)
    assert f"`git -C {tiny.folder} fsck --full`" in str(told.value)


@pytest.mark.parametrize("filtered", ["blob:none", "tree:0", "blob:limit=5"])
@pytest.mark.parametrize("bare", [True, False])
def test_a_partial_clone_is_explained_and_can_be_completed(
    built: tuple[Tiny, pd.DataFrame], tmp_path: Path, filtered: str, bare: bool
) -> None:
    tiny, before = built
    tiny.git("config", "uploadpack.allowFilter", "true")
    ran, program = trap(tmp_path)
    clone = tmp_path / "project"
    kind = ["--bare"] if bare else ["--no-checkout"]
    tiny.git("clone", "-q", *kind, f"--filter={filtered}", f"file://{tiny.folder}", str(clone))
    mine = Tiny(clone)
    mine.git("config", "remote.origin.uploadpack", program)
    mine.git("config", "protocol.allow", "always")
    with pytest.raises(GitError, match="is a partial clone") as told:
        rows(clone)
    assert not ran.exists(), "nothing is fetched"
    mine.git("config", "--unset", "remote.origin.uploadpack")
    command = f"git -C {clone} fetch --refetch --no-filter"
    assert f"`{command}`" in str(told.value)
    subprocess.run(command.split(), check=True, capture_output=True)
    pd.testing.assert_frame_equal(rows(clone), before)


def test_a_clone_that_borrows_objects_says_from_where(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "lender")
    build(tiny)
    tiny.git("clone", "-q", "--shared", str(tiny.folder), str(tmp_path / "borrower"))
    assert len(rows(tmp_path / "borrower"))
    tiny.folder.rename(tmp_path / "moved")
    with pytest.raises(GitError, match=r"it borrows objects from where .*/info/alternates says"):
        rows(tmp_path / "borrower")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9.py", "caf\\xe9.py"),
        ("déjà vu.py".encode(), "déjà vu.py"),
        (b"tab\there\nnext\r.py", "tab\\there\\nnext\\r.py"),
        (b"back\\xe9.py", "back\\\\xe9.py"),
        (b"\x1b[31mred\x07.py", "\\u001b[31mred\\u0007.py"),
        ("c1\u0085 ls\u2028.py".encode(), "c1\\u0085 ls\\u2028.py"),
        (b"-dash'\"$`.py", "-dash'\"$`.py"),
    ],
)
def test_a_name_is_shown_in_one_line_of_valid_text(name: bytes, shown: str) -> None:
    assert escaped(git.text(name)) == shown
    shown.encode()


def test_a_file_larger_than_source_can_be_is_not_kept_in_memory(
    built: tuple[Tiny, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, _ = built
    monkeypatch.setattr(git, "MOST_BYTES", 100)
    monkeypatch.setattr(git, "CHUNK_BYTES", 7)
    with Blobs(read_history(tiny.folder).objects) as blobs:
        large, small = (tiny.git("rev-parse", f"HEAD:{name}") for name in ("déjà.py", "tab\t.py"))
        assert [blobs.read(name) for name in (large, small, large, small)] == [None, b"t = 1\n", None, b"t = 1\n"]


@pytest.mark.parametrize(
    ("status", "complaint", "said"),
    [
        (-9, b"", "was stopped by signal 9 while it read .*: is the memory full"),
        (128, b"error: open /x/.git/objects/aa: Permission denied\n", "cannot be read by this user"),
        (128, b"fatal: \xff\x1b[31m", r"is damaged: .*said: fatal: \\xff\\u001b\[31m"),
        (128, b"", r"is damaged: .*said: nothing"),
    ],
)
def test_what_git_dies_of_is_explained(tmp_path: Path, status: int, complaint: bytes, said: str) -> None:
    told = str(fault(Objects(tmp_path, tmp_path / "objects", "sha1"), "log", status, complaint))
    assert re.search(said, told)

"""A repository's history as arrays: which commits arrived when, by whom, and what they changed.

git log ─ parse ─> commits ─ order of arrival ─> History, with the names and blobs of what changed

A commit *arrives* when the main line first contains it: side commits arrive with their merge, however old they are. So
nothing that is merged tomorrow changes what was known today. The main line is what the first parents lead to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from lizard_languages import get_reader_for
from rich.console import Console

from models.code_health.arrays import History, Ints
from training.code_git import PLAIN_DIFF, GitError, ask, stream, text
from training.code_progress import each

GONE: Final = ""
"""The blob of a file that is not there."""

_NO_BLOB: Final = re.compile("0+")
_FILE_MODES: Final = frozenset({"100644", "100755", "000000"})  # no links, no submodules
_OTHERS_CODE: Final = re.compile(r"(^|/)(node_modules|vendor|third[_-]party|bower_components)/|\.min\.\w+$")
_REPAIR: Final = re.compile(r"\b(fix(e[sd]|ing)?|hot-?fix|repair(s|ed|ing)?)\b", re.I)
_SURELY: Final = re.compile(r"\b(bugs?|bug-?fix(es)?|defects?|crash(es|ed|ing)?|regressions?)\b", re.I)
_TAKES_BACK: Final = re.compile(r'^Revert "')
_NO_DEFECT: Final = re.compile(
    r"\b(typos?|spelling|grammar|wording|docs?|docstrings?|documentation|readme|changelogs?|news|comments?|link\w*|lint\w*|"
    r"flake8|pep-?8|[EFW]\d{3}|pylint|ruff|mypy|typing|type hints?|format(ting)?|style|whitespaces?|indent(ation)?|ci|"
    r"travis|tox|coverage|tests?|unittests?|warnings?|merge|conflicts?)\b",
    re.I,
)
_ASIDE: Final = re.compile(r"https?://\S+|(?<=\S)\W+(fix(e[sd])?|close[sd]?|resolve[sd]?):? +(#|gh-)\d+", re.I)
"""Links, and a ticket named after what was done, which may be a wish as well as a defect."""


@dataclass(frozen=True)
class Change:
    """One changed source file of a commit: lines, and the blobs and paths on both sides."""

    path: str
    old_path: str
    before: str
    after: str
    added: int
    deleted: int


@dataclass(frozen=True)
class Commit:
    """One commit as git tells it."""

    hash: str
    parents: tuple[str, ...]
    time_s: int
    author: str
    message: str
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Repository:
    """A history, and the names behind its numbers.

    Attributes
    ----------
    folder
        A work tree or a git directory.
    hashes
        Of the C commits, in order of arrival.
    parents
        Of each commit, as places in that order.
    main
        int64, the commits of the main line.
    history
        C commits, M changes of source files.
    changes
        The M changes.
    named
        (commit, path, file): from that commit on, the path means that file.
    """

    folder: Path
    hashes: list[str]
    parents: list[tuple[int, ...]]
    main: Ints
    history: History
    changes: list[Change]
    named: list[tuple[int, str, int]]

    def arrived(self, moment_s: int) -> int:
        """How many commits had arrived at a moment, in seconds since 1970."""
        return int(np.searchsorted(self.history.time_s, moment_s, side="right"))

    def tip(self, until: int) -> str | None:
        """Hash of the main line's last commit among the first `until`; None where there is none."""
        place = int(np.searchsorted(self.main, until)) - 1
        return self.hashes[int(self.main[place])] if place >= 0 else None


def is_source(path: str) -> bool:
    """Whether a path is source code in a language that lizard reads, and not somebody else's."""
    return _is_read(PurePosixPath(path).suffix) and not _OTHERS_CODE.search(path)


@cache
def _is_read(ending: str) -> bool:
    return get_reader_for(f"name{ending}") is not None


def repairs(message: str) -> bool:
    """Whether a commit's message says that it repairs a defect.

    Its first line says so, and not of documentation, style or tests; or it takes a commit back (after Mockus & Votta,
    ICSM 2000).
    """
    said = message.strip().partition("\n")[0]
    if _TAKES_BACK.search(said):
        return True
    said = _ASIDE.sub("", said)
    return bool(_SURELY.search(said) or (_REPAIR.search(said) and not _NO_DEFECT.search(said)))


def read_history(folder: Path, revision: str = "HEAD", console: Console | None = None) -> Repository:
    """Read the history that a revision's first parents lead to.

    Parameters
    ----------
    folder
        A work tree or a git directory.
    revision
        The tip of the main line.
    console
        Where progress is shown; none is shown without one.

    Raises
    ------
    training.code_git.GitError
        If there is no repository, no such revision, or a clone whose history is cut off.
    """
    if ask(folder, "rev-parse", "--is-shallow-repository").strip() == "true":
        raise GitError(f"{folder} is a shallow clone, which tells no history: run `git fetch --unshallow` in it first")
    tip = ask(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    total = int(ask(folder, "rev-list", "--count", tip))
    commits: dict[str, Commit] = {}
    for commit in each(console or Console(quiet=True), "reading history", _log(folder, tip), total):
        commits[commit.hash] = commit
    order, main, group = _arrival(commits, tip)
    merges = stream(
        folder, "log", "--merges", "-c", "--raw", "--no-abbrev", *PLAIN_DIFF, "--format=%x01%H", "-z", tip, end=b"\0"
    )
    return _numbered(folder, [commits[one] for one in order], main, group, _conflicted(merges))


def _log(folder: Path, tip: str) -> Iterator[Commit]:
    """Yield every commit reachable from the tip, parents first."""
    form = "--format=%x01%H%x02%P%x02%ct%x02%aN%x02%B"
    shown = ("--raw", "--numstat", "--no-abbrev", *PLAIN_DIFF, "--topo-order", "--reverse", "-z", form)
    pieces = stream(folder, "log", *shown, tip, end=b"\0")
    commit: Commit | None = None
    blobs: dict[str, tuple[str, str]] = {}
    for raw in pieces:
        piece = text(raw).removeprefix("\n")
        if piece.startswith("\x01"):
            if commit is not None:
                yield commit
            name, parents, time_s, author, message = piece[1:].split("\x02", 4)
            commit, blobs = Commit(name, tuple(parents.split()), int(time_s), author, message), {}
        elif piece.startswith(":") and commit is not None:
            old_mode, mode, before, after, status = piece[1:].split(" ")
            path = text(next(pieces))
            path = text(next(pieces)) if status[0] in "RC" else path
            if {old_mode, mode} <= _FILE_MODES:
                blobs[path] = _blob(before), _blob(after)
        elif piece and commit is not None:
            added, deleted, path = piece.split("\t", 2)
            old_path = path or text(next(pieces))
            path = path or text(next(pieces))
            if path in blobs and is_source(path):
                lines = (int(added), int(deleted)) if added != "-" else (0, 0)  # "-" is binary
                commit.changes.append(Change(path, old_path, *blobs[path], *lines))
    if commit is not None:
        yield commit


def _blob(name: str) -> str:
    return GONE if _NO_BLOB.fullmatch(name) else name


def _conflicted(pieces: Iterator[bytes]) -> set[str]:
    """Hashes of the merges with a file that differs from all parents."""
    found, commit = set(), ""
    for raw in pieces:
        piece = text(raw).removeprefix("\n")
        if piece.startswith("\x01"):
            commit = piece[1:]
        elif piece.startswith("::"):
            found.add(commit)
    return found


def _arrival(commits: dict[str, Commit], tip: str) -> tuple[list[str], list[int], list[int]]:
    """Order commits by their arrival.

    Depends on nothing but what a commit can reach: what comes later does not move what is there.

    Returns
    -------
    order, main, group
        Hashes in order of arrival; places of the main line's commits; per commit, which of those it came with.
    """
    line = [tip]
    while commits[line[-1]].parents:
        line.append(commits[line[-1]].parents[0])
    order: list[str] = []
    main: list[int] = []
    group: list[int] = []
    placed: set[str] = set()
    for number, head in enumerate(reversed(line)):
        stack = [(head, iter(commits[head].parents))]
        placed.add(head)
        while stack:  # depth first, parents before children
            name, parents = stack[-1]
            parent = next((one for one in parents if one not in placed), None)
            if parent is None:
                order.append(name)
                group.append(number)
                stack.pop()
            else:
                placed.add(parent)
                stack.append((parent, iter(commits[parent].parents)))
        main.append(len(order) - 1)
    return order, main, group


def _numbered(
    folder: Path, commits: list[Commit], main: list[int], group: list[int], conflicted: set[str]
) -> Repository:
    """Turn commits in order of arrival into arrays."""
    place = {commit.hash: number for number, commit in enumerate(commits)}
    parents = [tuple(place[one] for one in commit.parents) for commit in commits]
    made_s = np.array([commit.time_s for commit in commits], dtype=np.int64)
    arrived_s = np.maximum.accumulate(made_s[main])[group]  # clocks go wrong; arrivals do not go back
    fork_s = arrived_s.copy()
    first = np.concatenate([[0], np.array(main[:-1], dtype=np.int64) + 1])
    fork_s[main] = np.minimum.reduceat(made_s, first)
    authors: dict[str, int] = {}
    areas: dict[str, int] = {}
    files = _Files()
    numbers = [
        (
            number,
            files.of(number, change),
            areas.setdefault(_area(change.path), len(areas)),
            change.added,
            change.deleted,
        )
        for number, commit in enumerate(commits)
        for change in commit.changes
    ]
    commit_, file, area, added, deleted = np.array(numbers, dtype=np.int64).reshape(-1, 5).T
    history = History(
        time_s=arrived_s,
        author=np.array([authors.setdefault(commit.author, len(authors)) for commit in commits], dtype=np.int64),
        fixes=np.array([len(commit.parents) < 2 and repairs(commit.message) for commit in commits], dtype=np.bool_),
        merge=np.array([len(commit.parents) > 1 for commit in commits], dtype=np.bool_),
        conflicted=np.array([commit.hash in conflicted for commit in commits], dtype=np.bool_),
        fork_s=fork_s,
        commit=commit_,
        file=file,
        area=area,
        added=added,
        deleted=deleted,
    )
    changes = [change for commit in commits for change in commit.changes]
    hashes = [commit.hash for commit in commits]
    return Repository(folder, hashes, parents, np.array(main, dtype=np.int64), history, changes, files.named)


def _area(path: str) -> str:
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""


class _Files:
    """Gives files numbers that outlive their names: a renamed file stays the same file."""

    def __init__(self) -> None:
        self.named: list[tuple[int, str, int]] = []
        self._file: dict[str, int] = {}
        self._path: list[str] = []

    def of(self, commit: int, change: Change) -> int:
        """Say which file a change is about; asked in order of arrival."""
        known = self._file.get(change.old_path)
        if known is not None and change.before == GONE and self._path[known] != change.path:
            known = None  # the file of that name has moved on; this one is new
        if known is None:
            known = self._file.get(change.path) if change.old_path != change.path else None
        if known is None:
            known = len(self._path)
            self._path.append(change.path)
        if self._file.get(change.path) != known:
            self._file[change.path] = known
            self.named.append((commit, change.path, known))
        if change.after != GONE:
            self._path[known] = change.path
        return known

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
from training.code_messages import repairs
from training.code_progress import each

GONE: Final = ""
"""The blob of a file that is not there."""

_FILE_MODES: Final = frozenset({"100644", "100755", "000000"})  # no links, no submodules
_OTHERS_CODE: Final = re.compile(r"(^|/)(node_modules|vendor|third[_-]party|bower_components)/|\.min\.\w+$")


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
    main
        int64, the commits of the main line.
    history
        C commits, M changes of source files.
    changes
        The M changes.
    named
        (commit, path, file): from that commit on, the path means that file.
    specs
        Arguments that limit git to the source files there are.
    """

    folder: Path
    hashes: list[str]
    main: Ints
    history: History
    changes: list[Change]
    named: list[tuple[int, str, int]]
    specs: tuple[str, ...]

    def arrived(self, moment_s: int) -> int:
        """How many commits had arrived at a moment, in seconds since 1970."""
        return int(np.searchsorted(self.history.time_s, moment_s, side="right"))

    def tip(self, until: int) -> str | None:
        """Hash of the main line's last commit among the first `until`; None where there is none."""
        place = int(np.searchsorted(self.main, until)) - 1
        return self.hashes[int(self.main[place])] if place >= 0 else None


def is_source(path: str) -> bool:
    """Whether a path is source code in a language that lizard reads, and not somebody else's."""
    return _is_read(PurePosixPath(path).suffix.lower()) and not _OTHERS_CODE.search(path)


@cache
def _is_read(ending: str) -> bool:
    return get_reader_for(f"name{ending}") is not None


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
    console = console or Console(quiet=True)
    commits: dict[str, Commit] = {}
    endings: set[str] = set()
    for commit, its_endings in each(console, "reading commits", _commits(folder, tip), total):
        commits[commit.hash] = commit
        endings |= its_endings
    specs = sources(endings)
    for name, change in each(console, "reading changes", _changes(folder, tip, specs), total):
        commits[name].changes.append(change)
    order, main, group = _arrival(commits, tip)
    return _numbered(folder, [commits[one] for one in order], main, group, _conflicted(folder, tip), specs)


def sources(endings: set[str]) -> tuple[str, ...]:
    """Return arguments that limit git to source files with some endings: nothing else is even read."""
    kept = sorted(ending for ending in endings if _is_read(ending))
    return ("--full-history", "--", *(f":(icase)*{ending}" for ending in kept)) if kept else ("--", ":(exclude)*")


def _commits(folder: Path, tip: str) -> Iterator[tuple[Commit, set[str]]]:
    """Yield every commit reachable from the tip, with the endings of the files it changes."""
    shown = ("--name-only", "--no-renames", "-z", "--format=%x01%H%x02%P%x02%ct%x02%aN%x02%B")
    commit: Commit | None = None
    endings: set[str] = set()
    for raw in stream(folder, "log", *shown, tip, end=b"\0"):
        piece = text(raw).removeprefix("\n")
        if not piece.startswith("\x01"):
            endings.add(PurePosixPath(piece).suffix.lower())
            continue
        if commit is not None:
            yield commit, endings
        name, parents, time_s, author, message = piece[1:].split("\x02", 4)
        commit, endings = Commit(name, tuple(parents.split()), int(time_s), author, message), set()
    if commit is not None:
        yield commit, endings


def _changes(folder: Path, tip: str, specs: tuple[str, ...]) -> Iterator[tuple[str, Change]]:
    """Yield the changed source files of every commit that is no merge, with its hash."""
    shown = ("--raw", "--numstat", "--no-abbrev", *PLAIN_DIFF, "-z", "--format=%x01%H")
    pieces = stream(folder, "log", *shown, tip, *specs, end=b"\0")
    commit = ""
    blobs: dict[str, tuple[str, str]] = {}
    for raw in pieces:
        piece = text(raw).removeprefix("\n")
        if piece.startswith("\x01"):
            commit, blobs = piece[1:], {}
        elif piece.startswith(":"):
            old_mode, mode, before, after, status = piece[1:].split(" ")
            path = text(next(pieces))
            path = text(next(pieces)) if status[0] in "RC" else path
            if {old_mode, mode} <= _FILE_MODES:
                blobs[path] = blob_of(before), blob_of(after)
        elif piece:
            added, deleted, path = piece.split("\t", 2)
            old_path = path or text(next(pieces))
            path = path or text(next(pieces))
            if path in blobs and is_source(path):
                lines = (int(added), int(deleted)) if added != "-" else (0, 0)  # "-" is binary
                yield commit, Change(path, old_path, *blobs[path], *lines)


def blob_of(name: str) -> str:
    """Return the blob that git names in a diff: `GONE` for its row of zeros."""
    return name if name.strip("0") else GONE


def _conflicted(folder: Path, tip: str) -> set[str]:
    """Hashes of the merges with a file that differs from all parents."""
    found, commit = set(), ""
    shown = ("--merges", "-c", "--raw", "--no-renames", "-z", "--format=%x01%H")
    for raw in stream(folder, "log", *shown, tip, end=b"\0"):
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
    folder: Path,
    commits: list[Commit],
    main: list[int],
    group: list[int],
    conflicted: set[str],
    specs: tuple[str, ...],
) -> Repository:
    """Turn commits in order of arrival into arrays."""
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
    return Repository(folder, hashes, np.array(main, dtype=np.int64), history, changes, files.named, specs)


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

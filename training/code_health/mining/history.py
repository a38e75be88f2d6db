"""A repository's history as arrays: which commits arrived when, by whom, and what they changed.

git log ─ parse ─> commits ─ order of arrival ─> History, with the names and blobs of what changed

A commit *arrives* when the main line first contains it: side commits arrive with their merge, however old they are. So
nothing that is merged tomorrow changes what was known today. The main line is what the first parents lead to. A commit
of the main line whose date is impossible (none, before 1970, after now) arrives with the next one whose date is not,
and not at all where there is no such one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from lizard_languages import languages
from rich.console import Console

from models.code_health.arrays import Bools, History, Ints
from training.code_health.mining.commit_messages import repairs
from training.code_health.mining.commits import Change, Commit, read_commit
from training.code_health.mining.git import PLAIN_DIFF, GitError, Objects, ask, escaped, stream, text
from training.code_health.mining.opening import open_repository
from training.progress import each

GONE: Final = ""
"""The blob of a file that is not there."""

ENDINGS: Final = frozenset(f".{ending}".lower() for language in languages() for ending in language.ext)
"""Of source files, in lower case: what lizard reads."""

_FILE_MODES: Final = frozenset({"100644", "100755", "000000"})  # no links, no submodules
_OTHERS_CODE: Final = re.compile(r"(^|/)(node_modules|vendor|third[_-]party|bower_components)/|\.min\.\w+$")


@dataclass(frozen=True)
class Repository:
    """A history, and the names behind its numbers.

    Attributes
    ----------
    objects
        Of the repository.
    hashes
        Of the C commits, in order of arrival.
    main
        int64, the commits of the main line.
    dated
        bool [C], false where a commit's own date is impossible.
    misdated
        Hash to what is wrong with its date, of those that the revision leads to.
    history
        C commits, M changes of source files.
    changes
        The M changes.
    named
        (commit, path, file): from that commit on, the path means that file.
    specs
        Arguments that limit git to the source files there are.
    """

    objects: Objects
    hashes: list[str]
    main: Ints
    dated: Bools
    misdated: dict[str, str]
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
    """Whether a path is source code in a language that lizard reads, and not third-party."""
    return PurePosixPath(path).suffix.lower() in ENDINGS and not _OTHERS_CODE.search(path)


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
    training.code_health.mining.git.GitError
        If there is no repository, no such revision, a clone whose history is cut off, an object that is missing or
        damaged, or no commit with a possible date.
    """
    objects, tip = open_repository(folder, revision)
    total = int(ask(objects, "rev-list", "--count", tip))
    console = console or Console(quiet=True)
    commits: dict[str, Commit] = {}
    now_s = time.time()
    for raw in each(console, "reading commits", stream(objects, "rev-list", "--header", tip, end=b"\0"), total):
        commit = read_commit(raw, now_s)
        commits[commit.hash] = commit
    misdated = {commit.hash: commit.misdated for commit in commits.values() if commit.misdated}
    order, main, group = _arrival(commits, tip)
    if not main:
        raise GitError(
            f"no commit of {escaped(str(folder))} has a possible date, of {len(commits):,}; {tip} is "
            f"{misdated[tip]}: see that this machine's clock is right, or name an earlier commit with --revision"
        )
    tip = order[-1]
    specs = sources(_endings(objects, tip))
    for name, change in each(console, "reading changes", _changes(objects, tip, specs), total):
        commits[name].changes.append(change)
    arrived = [commits[one] for one in order]
    return _number(objects, arrived, main, group, _conflicted(objects, tip), misdated, specs)


def sources(endings: set[str]) -> tuple[str, ...]:
    """Return arguments that limit git to source files with some endings: nothing else is even read."""
    kept = sorted(endings & ENDINGS)
    return ("--full-history", "--", *(f":(icase)*{ending}" for ending in kept)) if kept else ("--", ":(exclude)*")


def _endings(objects: Objects, tip: str) -> set[str]:
    """List the endings of all files that commits changed."""
    shown = ("--name-only", "--no-renames", "-z", "--format=")
    return {PurePosixPath(text(raw)).suffix.lower() for raw in stream(objects, "log", *shown, tip, end=b"\0")}


def _changes(objects: Objects, tip: str, specs: tuple[str, ...]) -> Iterator[tuple[str, Change]]:
    """Yield the changed source files of every commit that is no merge, with its hash."""
    shown = ("--raw", "--numstat", "--no-abbrev", *PLAIN_DIFF, "-z", "--format=%x01%H")
    pieces = stream(objects, "log", *shown, tip, *specs, end=b"\0")
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


def _conflicted(objects: Objects, tip: str) -> set[str]:
    """Hashes of the merges with a file that differs from all parents."""
    found, commit = set(), ""
    shown = ("--merges", "-c", "--raw", "--no-renames", "-z", "--format=%x01%H")
    pieces = stream(objects, "log", *shown, tip, end=b"\0")
    for raw in pieces:
        piece = text(raw).removeprefix("\n")
        if piece.startswith("\x01"):
            commit = piece[1:].rstrip("\n")
        elif piece.startswith("::"):
            found.add(commit)
            next(pieces)  # its path, which may look like anything
    return found


def _arrival(commits: dict[str, Commit], tip: str) -> tuple[list[str], list[int], list[int]]:
    """Order commits by their arrival.

    Depends on nothing but what a commit can reach: what comes later does not move what is there.

    Returns
    -------
    order, main, group
        Hashes in order of arrival; places of the main line's commits, of those whose date is possible; per commit,
        which of those it came with.
    """
    line = [tip]
    while commits[line[-1]].parents:
        line.append(commits[line[-1]].parents[0])
    line = [name for name in line if not commits[name].misdated]
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


def _number(
    objects: Objects,
    commits: list[Commit],
    main: list[int],
    group: list[int],
    conflicted: set[str],
    misdated: dict[str, str],
    specs: tuple[str, ...],
) -> Repository:
    """Turn commits in order of arrival into arrays."""
    made_s = np.array([commit.time_s for commit in commits], dtype=np.int64)
    arrived_s = np.maximum.accumulate(made_s[main])[group]  # clocks go wrong; arrivals do not go back
    dated = np.array([not commit.misdated for commit in commits], dtype=np.bool_)
    made_s = np.where(dated, made_s, arrived_s)
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
    return Repository(
        objects, hashes, np.array(main, dtype=np.int64), dated, misdated, history, changes, files.named, specs
    )


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

"""Who wrote the lines that a repair takes away: SZZ by one pass over the history instead of a `git blame` per file.

git log -p ─> hunks ─ replay in order of arrival ─> per file version, the commit of each line ─ repairs ─> Repairs

Each version of a file carries, per line, the commit that wrote it. A change keeps some lines and writes others, so the
origins of the new version follow from the old one and the hunks, without reading either. Differences of blanks alone
write nothing (`-w`). A merge that differs from all its parents takes each line from the first parent that has it. The
method is that of Sliwerski, Zimmermann & Zeller (MSR 2005), with a refinement of Kim et al. (ASE 2006): blank lines and
comments are no defect.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.code_health.arrays import Ints
from training.code_health.mining.git import PLAIN_DIFF, Blobs, stream, text
from training.code_health.mining.history import GONE, Repository, blob_of, is_source
from training.code_health.mining.imports import is_test
from training.progress import each

MOST_FILES: Final = 20
"""A repair that touches more source files than this is a sweep, not the repair of one defect."""

Origins = npt.NDArray[np.int32]
Version = tuple[str, str]  # path and blob

_COMPARED: Final = ("-U0", "-w", *PLAIN_DIFF)
_UNKNOWN: Final = -1
_WROTE: Final = -2  # by the merge itself
_HUNK: Final = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_SAYS_NOTHING: Final = re.compile(rb"^-\s*($|#(?!\s*(?:include|define|if|el|end|undef|pragma)\b)|//|/\*|\*|--|<!--)")
_NOTHING: Final = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class Repairs:
    """Which commits repaired what which commits wrote, one entry per pair: int64 [L] each.

    Attributes
    ----------
    fixing, inducing
        Places of the commits in the order of arrival.
    lines
        How many of the one's lines the other took away.
    """

    fixing: Ints
    inducing: Ints
    lines: Ints


@dataclass(frozen=True)
class _Hunk:
    """Lines from `start` of the old version give way to new ones; `telling` is true for those that can be a defect."""

    start: int
    removed: int
    added: int
    telling: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class _Merged:
    """A file of a merge that differs from all parents."""

    path: str
    parents: tuple[str, ...]
    result: str


def repairs(repository: Repository, console: Console | None = None) -> Repairs:
    """Find the commits whose lines later commits repaired.

    What a side branch repaired before it arrived on the main line was no defect there, and is left out; so are repairs
    that only add lines, because nothing says whose fault they fix, and lines of tests.

    Parameters
    ----------
    repository
        Its history.
    console
        Where progress is shown; none is shown without one.

    Raises
    ------
    training.code_health.mining.git.GitError
        If git refuses.
    """
    history = repository.history
    hunks = _hunks(repository)
    merged = _merge(repository)
    starts = np.searchsorted(history.commit, np.arange(len(repository.hashes) + 1)).tolist()
    fixes = history.fixes & (np.diff(starts) <= MOST_FILES)
    versions = _Versions(repository, merged)
    found: Counter[tuple[int, int]] = Counter()
    count = len(repository.hashes)
    with versions.blobs:
        for commit in each(console or Console(quiet=True), "tracing lines", range(count), count):
            for place in range(starts[commit], starts[commit + 1]):
                change = repository.changes[place]
                cuts = hunks[commit].get((change.before, change.after), [])
                old = versions.take((change.old_path, change.before))
                if fixes[commit] and change.after != GONE and not is_test(change.path):
                    for one in _written_by(old, cuts):
                        found[commit, one] += 1
                versions.put((change.path, change.after), _replay(old, cuts, commit))
            for one_merged in merged[commit]:
                versions.merge(one_merged, commit)
    links = np.array([(*key, lines) for key, lines in sorted(found.items())], dtype=np.int64).reshape(-1, 3)
    fixing, inducing, lines = links[history.time_s[links[:, 0]] > history.time_s[links[:, 1]]].T
    return Repairs(fixing, inducing, lines)


def _written_by(old: Origins, cuts: list[_Hunk]) -> Iterator[int]:
    """Yield the commits that wrote the telling lines that hunks take away, one per line."""
    for cut in cuts:
        gone = old[cut.start : cut.start + cut.removed].tolist()
        yield from (one for one, telling in zip(gone, cut.telling, strict=False) if telling and one != _UNKNOWN)


def _replay(old: Origins, cuts: list[_Hunk], commit: int) -> Origins:
    """Origins of the lines after some hunks, from those before."""
    pieces, place = [], 0
    for cut in cuts:
        pieces += [old[place : cut.start], np.full(cut.added, commit, dtype=np.int32)]
        place = cut.start + cut.removed
    return np.concatenate([*pieces, old[place:]])


class _Versions:
    """The origins of file versions, for as long as a later change builds on them."""

    def __init__(self, repository: Repository, merged: dict[int, list[_Merged]]) -> None:
        self.blobs = Blobs(repository.objects)
        self._objects = repository.objects
        self._origins: dict[Version, Origins] = {}
        self._uses = Counter((change.old_path, change.before) for change in repository.changes)
        self._uses.update((one.path, blob) for some in merged.values() for one in some for blob in one.parents)

    def put(self, version: Version, origins: Origins) -> None:
        if version[1] != GONE and self._uses[version]:
            self._origins[version] = origins

    def take(self, version: Version) -> Origins:
        """Return the origins of a version, of unknown origin where no change shows it."""
        if version[1] == GONE:
            return _NOTHING
        origins = self._origins.get(version)
        self._uses[version] -= 1
        if self._uses[version] == 0:
            self._origins.pop(version, None)
        if origins is None:
            origins = np.full(_count(self.blobs.read(version[1])), _UNKNOWN, dtype=np.int32)
        return origins

    def merge(self, merged: _Merged, commit: int) -> None:
        """Take each line of a merge from the first parent that has it; the rest the merge wrote."""
        if not self._uses[merged.path, merged.result]:
            return
        origins = np.full(_count(self.blobs.read(merged.result)), commit, dtype=np.int32)
        missing = np.ones(len(origins), dtype=np.bool_)
        for blob in (blob for blob in merged.parents if blob != GONE):
            compared = stream(self._objects, "diff", *_COMPARED, blob, merged.result, end=b"\n")
            cuts = [hunk for _, hunk in _parse_hunks(compared) if hunk is not None]
            theirs = _replay(self.take((merged.path, blob)), cuts, _WROTE)
            found = missing & (theirs != _WROTE)
            origins[found], missing[found] = theirs[found], False
        self.put((merged.path, merged.result), origins)


def _count(content: bytes | None) -> int:
    """How many lines there are; none of a file too large to be source."""
    return content.count(b"\n") + (not content.endswith(b"\n")) if content else 0


def _hunks(repository: Repository) -> defaultdict[int, dict[tuple[str, str], list[_Hunk]]]:
    """Read the hunks of every commit that is no merge, by the blobs before and after."""
    place = {name.encode(): number for number, name in enumerate(repository.hashes)}
    tip = repository.hashes[int(repository.main[-1])]
    shown = ("-p", *_COMPARED, "--full-index", "--no-merges", "--format=%x01%H")
    found: defaultdict[int, dict[tuple[str, str], list[_Hunk]]] = defaultdict(dict)
    commit = 0
    hunks: list[_Hunk] = []
    for line, hunk in _parse_hunks(stream(repository.objects, "log", *shown, tip, *repository.specs, end=b"\n")):
        if hunk is not None:
            hunks.append(hunk)
        elif line.startswith(b"\x01"):
            commit = place[line[1:]]
        elif line.startswith(b"index "):
            before, _, after = text(line).split(" ")[1].partition("..")
            hunks = found[commit][blob_of(before), blob_of(after)] = []  # files with the same blobs have the same hunks
    return found


def _parse_hunks(lines: Iterator[bytes]) -> Iterator[tuple[bytes, _Hunk | None]]:
    """Yield the lines of a diff that head something, and the hunks with their lines taken in."""
    for line in lines:
        match = _HUNK.match(line)
        if match is None:
            yield line, None
            continue
        start, removed, _, added = (int(one) if one is not None else 1 for one in match.groups())
        hunk = _Hunk(start - 1 if removed else start, removed, added)
        left = removed + added
        while left > 0:
            changed = next(lines)
            if changed.startswith(b"-"):
                hunk.telling.append(not _SAYS_NOTHING.match(changed))
            left -= not changed.startswith(b"\\")  # "\ No newline at end of file" is no line
        yield line, hunk


def _merge(repository: Repository) -> defaultdict[int, list[_Merged]]:
    """List the source files of merges that differ from all parents."""
    place = {name: number for number, name in enumerate(repository.hashes)}
    tip = repository.hashes[int(repository.main[-1])]
    shown = ("--merges", "-c", "--raw", "--no-abbrev", "--no-renames", "-z", "--format=%x01%H")
    found: defaultdict[int, list[_Merged]] = defaultdict(list)
    commit = 0
    pieces = stream(repository.objects, "log", *shown, tip, *repository.specs, end=b"\0")
    for raw in pieces:
        piece = text(raw).removeprefix("\n")
        if piece.startswith("\x01"):
            commit = place[piece[1:].rstrip("\n")]
        elif piece.startswith("::"):
            count = len(piece) - len(piece.lstrip(":"))
            words = piece.lstrip(":").split(" ")
            blobs = [blob_of(one) for one in words[count + 1 : 2 * count + 2]]
            path = text(next(pieces))
            if is_source(path) and blobs[-1] != GONE and words[count] in {"100644", "100755"}:
                found[commit].append(_Merged(path, tuple(blobs[:-1]), blobs[-1]))
    return found

"""Extracts the 35 features of code health from a local git repository: per file, per commit and for the project.

git log ──> history ─┐
git ls-tree ──> files at a date ──> blobs, measured once ──> code ─┴─ rows ──> Extracted

No row looks past its moment: commits count from when they arrived on the main line, and code is what was there then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console

from models.code_health.arrays import Code, Ints, Subjects
from models.code_health.features import NAMES
from models.code_health.measures import rows
from training.code_health.mining.file_metrics import Cache
from training.code_health.mining.git import escaped
from training.code_health.mining.history import Repository
from training.code_health.mining.snapshots import SnapshotReader
from training.code_health.mining.workers import cores

Kind = Literal["file", "commit", "project"]


@dataclass(frozen=True)
class Extracted:
    """Rows of features with what they describe.

    Attributes
    ----------
    kind, subject
        "file" and its path (bytes that are no UTF-8 as surrogates), "commit" and its hash, or "project" and the hash of
        its state.
    file
        int64 [N], the number of the file in the repository's history, -1 for other kinds and where it has none.
    own
        int64 [N], the place of the commit in the order of arrival, -1 for other kinds.
    until, moment_s
        int64 [N]: commits that had arrived, and the moment in seconds since 1970.
    features
        float32 [N, 35], NaN where a feature is missing.
    """

    kind: list[Kind]
    subject: list[str]
    file: Ints
    own: Ints
    until: Ints
    moment_s: Ints
    features: npt.NDArray[np.float32]

    def frame(self, project: str) -> pd.DataFrame:
        """Put the rows in a table: project, kind, subject, moment (UTC) and the 35 features; names are `escaped`."""
        said = {"project": escaped(project), "kind": self.kind, "subject": list(map(escaped, self.subject))}
        moment = pd.to_datetime(self.moment_s, unit="s", utc=True)
        return pd.DataFrame({**said, "moment": moment, **dict(zip(NAMES, self.features.T, strict=True))})


class Extractor:
    """Extracts from one repository; what it has read it does not read again.

    Parameters
    ----------
    repository
        Its history.
    cache
        Measures of blobs.
    jobs
        Processes that measure code; one per core without it.
    console
        Where progress is shown; none is shown without one.
    """

    def __init__(
        self, repository: Repository, cache: Cache, jobs: int | None = None, console: Console | None = None
    ) -> None:
        self._repository = repository
        self._snapshot_reader = SnapshotReader(repository, cache, jobs or cores(), console or Console(quiet=True))

    def files(self, moments_s: Iterable[int]) -> Extracted:
        """Describe every source file, and the project, at each of some moments.

        Parameters
        ----------
        moments_s
            Seconds since 1970; those before the first commit are left out.

        Returns
        -------
        Extracted
            Per moment, a row per file and one for the project.

        Raises
        ------
        ValueError
            If no moment is left.
        """
        snapshots = self._snapshot_reader.snapshots(moments_s)
        if not snapshots:
            raise ValueError("expected a moment after the first commit, got none: name a later date with --at")
        named = _Names(self._repository)
        kind: list[Kind] = []
        subject: list[str] = []
        described: list[Ints] = []  # the file of each row, per snapshot
        file: list[Ints] = []  # the file of each pair, per snapshot
        pair: list[Ints] = []  # the row of each pair, per snapshot: a row per file, then all files in one row
        for snapshot in snapshots:
            numbers = named.at(snapshot.until, snapshot.paths)
            count, start = len(numbers), len(kind)
            kind += ["file" for _ in snapshot.paths]
            kind += ["project"]
            subject += [*snapshot.paths, self._repository.tip(snapshot.until) or ""]
            described.append(np.append(numbers, -1))
            file.append(np.tile(numbers, 2))
            pair.append(np.append(np.arange(start, start + count), np.full(count, start + count)))
        each = [len(snapshot.paths) + 1 for snapshot in snapshots]
        subjects = Subjects(
            subject=np.concatenate(pair),
            file=np.concatenate(file),
            until=np.repeat(np.array([snapshot.until for snapshot in snapshots], dtype=np.int64), each),
            moment_s=np.repeat(np.array([snapshot.moment_s for snapshot in snapshots], dtype=np.int64), each),
            own=np.full(len(kind), -1, dtype=np.int64),
        )
        codes = [self._snapshot_reader.code_of(snapshot) for snapshot in snapshots]
        code = Code(
            **{
                one.name: np.concatenate([np.tile(getattr(code, one.name), 2) for code in codes])
                for one in fields(Code)
            }
        )
        features = rows(self._repository.history, subjects, code)
        return Extracted(
            kind, subject, np.concatenate(described), subjects.own, subjects.until, subjects.moment_s, features
        )

    def commits(self, until_s: int | None = None) -> Extracted:
        """Describe every commit that changes source files, as it arrives.

        Parameters
        ----------
        until_s
            The last moment of arrival, in seconds since 1970; all of them without it.

        Returns
        -------
        Extracted
            A row per commit, in order of arrival; none for one whose date is impossible.
        """
        history = self._repository.history
        until = len(history.time_s) if until_s is None else self._repository.arrived(until_s)
        changes = int(np.searchsorted(history.commit, until))
        own, subject = np.unique(history.commit[:changes], return_inverse=True)
        subjects = Subjects(subject, history.file[:changes], own + 1, history.time_s[own], own)
        code = self._snapshot_reader.code_of_changes(changes, own)
        features = rows(history, subjects, code)
        kept = self._repository.dated[own]
        own = own[kept]
        return Extracted(
            kind=["commit" for _ in own],
            subject=[self._repository.hashes[one] for one in own.tolist()],
            file=np.full(len(own), -1, dtype=np.int64),
            own=own,
            until=subjects.until[kept],
            moment_s=subjects.moment_s[kept],
            features=features[kept],
        )


class _Names:
    """Which file a path means, at ever later moments."""

    def __init__(self, repository: Repository) -> None:
        self._named = repository.named
        self._place = 0
        self._file: dict[str, int] = {}

    def at(self, until: int, paths: list[str]) -> Ints:
        """Return the files that paths mean after that many commits: int64, -1 for a path that no commit named."""
        while self._place < len(self._named) and self._named[self._place][0] < until:
            _, path, file = self._named[self._place]
            self._file[path] = file
            self._place += 1
        return np.array([self._file.get(path, -1) for path in paths], dtype=np.int64)

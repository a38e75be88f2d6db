"""The code of a repository's files: as it is at a date, and as each commit leaves it.

A *snapshot* is the state of all source files at a date: the tree of the main line's last commit by then. Nothing is
checked out. What a project has as a whole (who imports a file, what stands twice, what is tested) is known for
snapshots only; a commit reads it from the last snapshot before it, and snapshots for that are made every 30 days.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.code_health.arrays import Code, Floats, Ints
from models.code_health.changes import DAY_S
from models.code_health.measures import duplicated
from training.code_health.mining.file_metrics import MEASURES, RUN, UNKNOWN, Cache, Measured, language, runs
from training.code_health.mining.git import Blobs, ask
from training.code_health.mining.history import GONE, Repository, is_source
from training.code_health.mining.imports import links
from training.code_health.mining.workers import measured
from training.progress import each

SURVEY_DAYS: Final = 30
_SAVE_EVERY: Final = 500


@dataclass(frozen=True)
class Snapshot:
    """All source files at a date."""

    until: int
    moment_s: int
    paths: list[str]
    blobs: list[str]


class SnapshotReader:
    """Reads the code of one repository; what it has measured it does not measure again.

    Parameters
    ----------
    repository
        Its history.
    cache
        Measures of blobs.
    jobs
        Processes that measure.
    console
        Where progress is shown.
    """

    def __init__(self, repository: Repository, cache: Cache, jobs: int, console: Console) -> None:
        self._repository = repository
        self._cache = cache
        self._jobs = jobs
        self._console = console
        self._known: dict[tuple[str, str], Measured] = {}
        self._runs: dict[str, tuple[int, npt.NDArray[np.uint64]]] = {}

    def snapshots(self, moments_s: Iterable[int]) -> list[Snapshot]:
        """List the source files at each moment, and measure them all.

        Parameters
        ----------
        moments_s
            Seconds since 1970; those before the first commit are left out.
        """
        snapshots = []
        for moment_s in sorted(set(moments_s)):
            until = self._repository.arrived(moment_s)
            tip = self._repository.tip(until)
            if tip is None:
                continue
            listed = ask(self._repository.objects, "ls-tree", "-r", "-z", "--full-tree", tip)
            entries = (entry.split("\t", 1) for entry in listed.split("\0") if entry)
            files = [(path, *head.split(" ")) for head, path in entries if is_source(path)]
            files = [one for one in files if one[1] in {"100644", "100755"}]
            snapshots.append(Snapshot(until, moment_s, [one[0] for one in files], [one[3] for one in files]))
        paths = [
            (blob, path) for snapshot in snapshots for blob, path in zip(snapshot.blobs, snapshot.paths, strict=True)
        ]
        self._measure(paths, with_runs=True)
        return snapshots

    def _measure(self, wanted: list[tuple[str, str]], with_runs: bool) -> None:
        """Measure blobs [(blob, path)] that neither this object nor the cache knows."""
        keys = dict.fromkeys((blob, language(path)) for blob, path in wanted if blob != GONE)
        new = [key for key in keys if key not in self._known]
        self._known |= self._cache.known(new)
        measuring = [key for key in new if key not in self._known]
        hashing = list(dict.fromkeys(blob for blob, _ in keys if blob not in self._runs)) if with_runs else []
        unsaved: dict[tuple[str, str], Measured] = {}
        answers = measured(self._repository.objects, measuring, self._jobs)
        try:
            for key, answer in each(self._console, "measuring code", answers, len(measuring)):
                unsaved[key] = self._known[key] = answer
                if len(unsaved) >= _SAVE_EVERY:
                    self._cache.remember(unsaved)
                    unsaved = {}
        finally:
            self._cache.remember(unsaved)  # an interrupted run continues from here
        with Blobs(self._repository.objects) as blobs:
            for blob in each(self._console, "looking for duplicates", hashing, len(hashing)):
                self._runs[blob] = runs(blobs.read(blob))

    def code_of(self, snapshot: Snapshot) -> Code:
        """Return the code of the F files of a snapshot."""
        code = [self._known[blob, language(path)] for blob, path in zip(snapshot.blobs, snapshot.paths, strict=True)]
        its_runs = [self._runs[blob] for blob in snapshot.blobs]
        linked = links(snapshot.paths, [one.imports for one in code])
        return _code(
            code,
            snapshot.paths,
            fan_in=linked.fan_in,
            tested=linked.tested,
            code_lines=np.array([lines for lines, _ in its_runs], dtype=np.float64),
            duplicated=duplicated([hashes for _, hashes in its_runs], RUN),
        )

    def code_of_changes(self, changes: int, own: Ints) -> Code:
        """Return the code that commits leave behind in the files they change.

        Parameters
        ----------
        changes
            How many of the history's changes to look at, in order of arrival.
        own
            int64, the commits they belong to.
        """
        history, some = self._repository.history, self._repository.changes[:changes]
        self._measure([(change.after, change.path) for change in some], with_runs=False)
        left = [
            UNKNOWN if change.after == GONE else self._known[change.after, language(change.path)] for change in some
        ]
        moments = history.time_s[own]
        grid = range(0, 0)
        if len(moments):  # dates that do not depend on what comes later
            step = SURVEY_DAYS * DAY_S
            grid = range(int(moments[0]) // step * step, int(moments[-1]) + 1, step)
        snapshots = self.snapshots(grid)
        whole = np.full((4, changes), np.nan)
        known: dict[str, int] = {}
        code: Code | None = None
        following = iter([*snapshots, None])
        snapshot = next(following)
        for place, change in enumerate(some):
            while snapshot is not None and snapshot.until <= history.commit[place]:
                code, known = self.code_of(snapshot), {path: number for number, path in enumerate(snapshot.paths)}
                snapshot = next(following)
            number = known.get(change.old_path)
            if code is not None and number is not None and change.after != GONE:
                whole[:, place] = [one[number] for one in (code.fan_in, code.tested, code.code_lines, code.duplicated)]
        return _code(left, [change.path for change in some], *whole)


def _code(
    each_file: list[Measured],
    paths: list[str],
    fan_in: Floats,
    tested: Floats,
    code_lines: Floats,
    duplicated: Floats,
) -> Code:
    values = np.array([one.values for one in each_file], dtype=np.float64).reshape(-1, len(MEASURES)).T
    folders: dict[str, int] = {}
    gone = np.isnan(values[0])
    fan_out = np.array([len(one.imports) for one in each_file], dtype=np.float64)
    return Code(
        **dict(zip(MEASURES, values, strict=True)),
        fan_out=np.where(gone, np.nan, fan_out),
        fan_in=fan_in,
        code_lines=code_lines,
        duplicated=duplicated,
        tested=tested,
        directory=np.array(
            [folders.setdefault(posixpath.dirname(path), len(folders)) for path in paths], dtype=np.int64
        ),
    )

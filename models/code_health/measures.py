"""The 35 features from plain arrays: a history of commits, the code of files, and the subjects to describe.

history, code, subjects ── rows ──> float32 [subjects, 35]

One function serves files, commits and whole projects: a subject is a set of files, a number of commits that have
arrived, and a moment. Nothing after that number of commits is ever read.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from models.code_health.arrays import Code, Floats, History, Subjects, different, largest, mean, ratio, summed
from models.code_health.changes import ByFile, of_branches, of_changes, of_each_commit
from models.code_health.features import NAMES, WIDTH

MOST_PAIRS: Final = 2_000_000
"""Changes looked at in one piece, which bounds the memory to a few hundred MiB."""
EMPTY: Final = np.zeros(0, dtype=np.uint64)


def rows(history: History, subjects: Subjects, code: Code) -> npt.NDArray[np.float32]:
    """Describe every subject by the 35 features.

    Parameters
    ----------
    history
        C commits with M changes.
    subjects
        S subjects with P files in all.
    code
        Of the P files.

    Returns
    -------
    numpy.ndarray
        float32 [S, 35], in the order of `models.code_health.features.NAMES`; NaN where a feature is missing.
    """
    count = len(subjects.until)
    table = np.full((count, WIDTH), np.nan, dtype=np.float32)
    commits = of_each_commit(history)
    by_file = ByFile.of(history)
    first = np.searchsorted(subjects.subject, np.arange(count + 1))
    reach = np.concatenate([[0], np.cumsum(by_file.spans(subjects.file, subjects.until[subjects.subject])[1])])[first]
    start = 0
    while start < count:  # as many subjects at a time as bound the memory, one at least
        stop = int(np.searchsorted(reach, reach[start] + MOST_PAIRS, side="right")) - 1
        stop = min(max(stop, start + 1), count)
        part = slice(first[start], first[stop])
        some = Subjects(
            subjects.subject[part] - start,
            subjects.file[part],
            subjects.until[start:stop],
            subjects.moment_s[start:stop],
            subjects.own[start:stop],
        )
        its_code = replace(code, **{one.name: getattr(code, one.name)[part] for one in fields(code)})
        measured = of_changes(history, by_file, commits, some, its_code.lines)
        measured |= of_branches(history, some) | _of_code(some, its_code)
        for column, name in enumerate(NAMES):
            table[start:stop, column] = measured[name]
        start = stop
    return table


def _of_code(subjects: Subjects, code: Code) -> dict[str, Floats]:
    """Measure the subjects' code: float64 [S] each."""
    count = len(subjects.until)
    subject = subjects.subject

    def over(above: Floats, below: Floats) -> Floats:
        known = ~np.isnan(above) & ~np.isnan(below)
        return ratio(
            summed(subject, np.where(known, above, 0), count), summed(subject, np.where(known, below, 0), count)
        )

    return {
        "files": summed(subject, np.ones(len(subject)), count),
        "directories": different(subject, code.directory, count),
        "lines_of_code": mean(subject, code.lines, count),
        "functions": mean(subject, code.functions, count),
        "function_length": over(code.function_lines, code.functions),
        "cyclomatic_complexity": over(code.paths, code.functions),
        "cyclomatic_max": largest(subject, np.where(code.functions > 0, code.paths_max, np.nan), count),
        "complex_functions": over(code.complex_functions, code.functions),
        "nesting": over(code.levels, code.filled),
        "documentation": over(code.comments, code.filled),
        "duplication": over(code.duplicated, code.code_lines),
        "test_coverage": over(code.tested * code.lines, code.lines),
        "debt_markers": 1000.0 * over(code.markers, code.lines),
        "fan_out": mean(subject, code.fan_out, count),
        "fan_in": mean(subject, code.fan_in, count),
    }


def duplicated(blocks: list[npt.NDArray[np.uint64]], run: int) -> Floats:
    """Count the lines of each file that are in a run of lines found more than once.

    Parameters
    ----------
    blocks
        Per file uint64 [lines - run + 1], a hash of each run of that many lines; empty for a shorter file.
    run
        Lines in a run.

    Returns
    -------
    numpy.ndarray
        float64 [files], lines.
    """
    lengths = np.array([len(one) for one in blocks], dtype=np.int64)
    _, which, times = np.unique(np.concatenate([EMPTY, *blocks]), return_inverse=True, return_counts=True)
    again = np.flatnonzero(times[which] > 1)
    # The lines of all files one after the other: each file has run - 1 more of them than it has runs.
    file = np.repeat(np.arange(len(blocks)), lengths)
    owner = np.repeat(np.arange(len(blocks)), lengths + (run - 1))
    covered = np.zeros(len(owner), dtype=np.bool_)
    for step in range(run):
        covered[again + file[again] * (run - 1) + step] = True
    return summed(owner, covered, len(blocks))

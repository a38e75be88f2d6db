"""What the features are computed from: a history of commits, the code of files, and the subjects to describe.

Also the few sums by group that all of them are made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """Commits in order of arrival on the main line, and what each changed in each source file.

    Attributes
    ----------
    time_s
        int64 [C], arrival in seconds since 1970, never decreasing.
    author
        int64 [C].
    fixes, merge, conflicted
        bool [C]: whether its message says that it repairs a defect; whether it is a merge; whether a merge's result
        differs from all its parents in some file.
    fork_s
        int64 [C], for a merge when the first commit it brings was made; elsewhere the arrival.
    commit, file, area
        int64 [M], one entry per changed file of a commit: the commit (never decreasing), the file, and the file's
        top-level directory.
    added, deleted
        int64 [M], lines.
    """

    time_s: Ints
    author: Ints
    fixes: Bools
    merge: Bools
    conflicted: Bools
    fork_s: Ints
    commit: Ints
    file: Ints
    area: Ints
    added: Ints
    deleted: Ints


@dataclass(frozen=True)
class Subjects:
    """What to describe: sets of files, each at a moment.

    Attributes
    ----------
    subject, file
        int64 [P], the files of each subject; `subject` never decreases, `file` -1 is a file without history.
    until
        int64 [S], how many commits have arrived.
    moment_s
        int64 [S], in seconds since 1970, at or after the arrival of those commits.
    own
        int64 [S], the commit that the subject is, or -1 for a file or a project.
    """

    subject: Ints
    file: Ints
    until: Ints
    moment_s: Ints
    own: Ints


@dataclass(frozen=True)
class Code:
    """The code of each file of each subject: float64 [P] each, NaN where it is not known.

    Attributes
    ----------
    lines, filled, comments
        Lines; those that are not blank; those of them that are comment or documentation.
    functions, function_lines, paths, paths_max, complex_functions
        Number of functions; their lines; the sum and the largest of their cyclomatic complexities; those above 10.
    levels
        Sum of the indentation levels of the non-blank lines.
    markers
        TODO, FIXME, XXX and HACK.
    fan_out, fan_in
        Modules it imports, and files that import it.
    code_lines, duplicated
        Lines that duplication is counted on, and those of them in a run of six that stands again.
    tested
        1 where a test file imports it or is named after it, 0 where none does, NaN for a test file.
    directory
        int64 [P], a number per directory.
    """

    lines: Floats
    filled: Floats
    comments: Floats
    functions: Floats
    function_lines: Floats
    paths: Floats
    paths_max: Floats
    complex_functions: Floats
    levels: Floats
    markers: Floats
    fan_out: Floats
    fan_in: Floats
    code_lines: Floats
    duplicated: Floats
    tested: Floats
    directory: Ints


def summed(group: Ints, values: npt.NDArray[Any], count: int) -> Floats:
    """Sum values [N] by group [N]: float64 [count]."""
    return np.bincount(group, np.asarray(values, dtype=np.float64), count).astype(np.float64)


def ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> Floats:
    """Divide two arrays of one shape; NaN where there is nothing to divide by."""
    quotient: Floats = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def mean(group: Ints, values: Floats, count: int) -> Floats:
    """Average the known values [N] of each group [N]: float64 [count], NaN where there are none."""
    known = ~np.isnan(values)
    return ratio(summed(group[known], values[known], count), summed(group[known], np.ones(known.sum()), count))


def largest(group: Ints, values: Floats, count: int) -> Floats:
    """Take the largest known value [N] of each group [N]: float64 [count], NaN where there are none."""
    top = np.full(count, -np.inf)
    np.maximum.at(top, group, np.where(np.isnan(values), -np.inf, values))
    return np.where(np.isfinite(top), top, np.nan)


def different(group: Ints, values: Ints, count: int) -> Floats:
    """Count the different values >= 0 [N] of each group [N]: float64 [count]."""
    width = int(values.max(initial=0)) + 1
    groups = np.unique(group * width + values) // width
    return summed(groups, np.ones(len(groups)), count)

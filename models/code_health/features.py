"""The 35 features of code health: their names, units and definitions, and which of them each model reads.

A row describes a *subject* at a *moment*. There are three kinds of subject, and all 35 features mean the same for each:

- a **file** at a date;
- a **commit**: the files it touches, at the moment just after it arrives on the main line;
- a **project**: all its source files at a date.

Nothing is counted that had not arrived on the main line by the moment. The *recent changes* of a file or project are
the commits of the last 90 days that touch it (the latest one where there is none); those of a commit are itself.
NaN means missing, for example where recorded data does not tell, or where a mean is over nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models.ranges import MISSING_SHARE, Range

Group = Literal["git", "code", "temporal"]
Scope = Literal["file", "project"]

RECENT_DAYS: Final = 90
"""The window of the recent changes, in days."""

YEAR_DAYS: Final = 365
"""The window of what needs more of the history: hotspots and seasonality."""


@dataclass(frozen=True)
class Feature:
    """One column of a row.

    Attributes
    ----------
    name, group, unit
        How it is called, which of the three groups it belongs to, and in what it is measured.
    scope
        What it is measured on: "file" is the subject's own files, "project" the whole project, whatever the subject.
    definition
        What is measured, in one sentence.
    source
        Where the measure comes from; empty where it is plain counting.
    """

    name: str
    group: Group
    unit: str
    scope: Scope
    definition: str
    source: str = ""


_KAMEI: Final = "Kamei et al., IEEE TSE 39(6), 2013"

FEATURES: Final = (
    Feature(
        "commit_frequency", "git", "commits per 30 days", "file",
        "commits that touch the subject's files, per 30 days since the first of them (over 30 days at least)",
    ),
    Feature(
        "changes", "git", "commits per file", "file",
        "commits that have touched a file so far, the present one included, mean over the subject's files", _KAMEI,
    ),
    Feature(
        "contributors", "git", "authors", "file",
        "different authors of the commits so far to the subject's files", _KAMEI,
    ),
    Feature(
        "author_experience", "git", "file changes", "file",
        "files the author has changed so far, once per commit, the present one included, mean over the recent changes",
        _KAMEI,
    ),
    Feature(
        "subsystem_experience", "git", "files", "file",
        "different files the author has changed so far in the top-level directories that the commit touches, "
        "mean over the recent changes", _KAMEI,
    ),
    Feature(
        "lines_added", "git", "lines per commit", "file",
        "lines added to the subject's files by a commit, mean over the recent changes", _KAMEI,
    ),
    Feature(
        "lines_deleted", "git", "lines per commit", "file",
        "lines deleted from the subject's files by a commit, mean over the recent changes", _KAMEI,
    ),
    Feature(
        "change_entropy", "git", "bits", "file",
        "Shannon entropy of how a commit's changed lines are spread over its files, mean over the recent changes",
        "Hassan, ICSE 2009",
    ),
    Feature(
        "fix_share", "git", "share", "file",
        "share of the recent changes whose message says that they repair a defect (0 or 1 for a commit)",
        "Mockus & Votta, ICSM 2000",
    ),
    Feature(
        "hotspot", "git", "log commits x log lines", "file",
        "ln(1 + commits of the last 365 days) x ln(1 + lines) of a file, largest over the subject's files",
        "Tornhill, Your Code as a Crime Scene, 2015",
    ),
    Feature(
        "branch_complexity", "git", "branches", "project",
        "side branches open at a time: of every branch merged in the last 90 days, the days of them from its first "
        "commit to its merge, summed and divided by 90",
    ),
    Feature(
        "merge_conflict_ratio", "git", "share", "project",
        "share of the merges of the last 90 days whose result differs from all their parents in some file; "
        "0 without merges",
    ),
    Feature("files", "code", "files", "file", "source files of the subject", _KAMEI),
    Feature("directories", "code", "directories", "file", "different directories of the subject's files", _KAMEI),
    Feature(
        "lines_of_code", "code", "lines per file", "file",
        "lines of a file, blank and comment lines included, mean over the subject's files", _KAMEI,
    ),
    Feature(
        "functions", "code", "functions per file", "file",
        "functions and methods of a file, mean over the subject's files",
    ),
    Feature(
        "function_length", "code", "lines per function", "file",
        "lines of a function without blank and comment lines, mean over the subject's functions",
    ),
    Feature(
        "cyclomatic_complexity", "code", "paths per function", "file",
        "cyclomatic complexity of a function, mean over the subject's functions", "McCabe, IEEE TSE SE-2(4), 1976",
    ),
    Feature(
        "cyclomatic_max", "code", "paths", "file", "largest cyclomatic complexity among the subject's functions",
        "McCabe, IEEE TSE SE-2(4), 1976",
    ),
    Feature(
        "complex_functions", "code", "share", "file",
        "share of the subject's functions with a cyclomatic complexity above 10", "McCabe, IEEE TSE SE-2(4), 1976",
    ),
    Feature(
        "nesting", "code", "levels", "file",
        "indentation of a line in levels of its file's own indent, mean over the subject's non-blank lines",
        "Hindle, Godfrey & Holt, ICPC 2008",
    ),
    Feature(
        "documentation", "code", "share", "file",
        "share of the subject's non-blank lines that are comment or documentation",
    ),
    Feature(
        "duplication", "code", "share", "file",
        "share of the subject's code lines (with a letter or digit, no comment) in a run of six that occurs again "
        "somewhere in the project",
        "Johnson, CASCON 1993",
    ),
    Feature(
        "test_coverage", "code", "share", "file",
        "share of the lines of the subject's files, tests apart, that are in a file which a test file imports or is "
        "named after (a stand-in: nothing is run)",
    ),
    Feature(
        "debt_markers", "code", "markers per 1000 lines", "file",
        "TODO, FIXME, XXX and HACK in the subject's files, per 1000 lines", "Potdar & Shihab, ICSME 2014",
    ),
    Feature(
        "fan_out", "code", "imports per file", "file", "modules that a file imports, mean over the subject's files",
        "Henry & Kafura, IEEE TSE SE-7(5), 1981",
    ),
    Feature(
        "fan_in", "code", "files per file", "file",
        "files of the project that import a file, mean over the subject's files",
        "Henry & Kafura, IEEE TSE SE-7(5), 1981",
    ),
    Feature("age", "temporal", "days", "file", "days since a file's first commit, mean over the subject's files"),
    Feature(
        "days_since_change", "temporal", "days", "file",
        "days since a file's last change (for a commit: since the one before it; 0 for a new file), "
        "mean over the subject's files", _KAMEI,
    ),
    Feature(
        "recent_experience", "temporal", "weighted file changes", "file",
        "sum of 1 / (1 + days ago) over the author's file changes so far, mean over the recent changes", _KAMEI,
    ),
    Feature(
        "velocity", "temporal", "commits per 30 days", "file",
        "commits of the last 90 days to the subject's files, per 30 days",
    ),
    Feature(
        "acceleration", "temporal", "log ratio", "file",
        "ln((1 + commits of the last 30 days) / (1 + half of those of the 60 days before)) to the subject's files",
    ),
    Feature(
        "growth", "temporal", "share", "file",
        "lines added less lines deleted in the last 90 days, over the lines the subject has or had then, whichever is "
        "more: 1 all new, -1 all gone",
    ),
    Feature(
        "stability", "temporal", "share", "file",
        "lines / (lines + lines added and deleted in the last 90 days): 1 where nothing moved",
        "after Nagappan & Ball, ICSE 2005",
    ),
    Feature(
        "seasonality", "temporal", "resultant length", "file",
        "how strongly the commits of the last 365 days keep to one time of the week (UTC): 0 evenly spread, "
        "1 always the same hour; corrected for their number, missing below 5",
        "Mardia & Jupp, Directional Statistics, 2000",
    ),
)  # fmt: skip
"""In the order of every row's columns: 12 git, 15 code, 8 temporal."""

NAMES: Final = tuple(feature.name for feature in FEATURES)
WIDTH: Final = len(NAMES)
"""Columns of a row: 35."""


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name not in names)


def _only(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name in names)


CHANGE: Final = _only(
    *("files", "directories", "change_entropy", "lines_added", "lines_deleted", "lines_of_code", "fix_share"),
    *("contributors", "changes", "days_since_change", "author_experience", "recent_experience", "subsystem_experience"),
)
"""What just-in-time defect data records of a commit: the change metrics of Kamei et al. (2013) but one."""

READS: Final[dict[str, tuple[str, ...]]] = {
    "code_risk": _without(
        *("commit_frequency", "branch_complexity", "documentation", "age", "acceleration", "growth", "seasonality")
    ),
    "code_anomaly": _only(*(set(CHANGE) - {"fix_share"}), "cyclomatic_complexity", "velocity", "acceleration"),
    "code_bugs": _only(
        *CHANGE,
        *("hotspot", "cyclomatic_complexity", "cyclomatic_max", "complex_functions", "nesting", "test_coverage"),
        *("debt_markers", "velocity", "stability"),
    ),
    "code_impact": _without("merge_conflict_ratio", "documentation", "debt_markers", "seasonality"),
    "code_meta": NAMES,
}
"""The features each served model reads, in column order: 28, 15, 22, 31 and all 35."""


SIGNED: Final = frozenset({"acceleration", "growth"})
"""The features that may be negative; growth is a share that may also exceed 1."""

MOST_MISSING: Final = 0.5
"""Share of a model's features that a row may lack: an answer to less is what is usual, and says nothing of the row."""


def _possible(feature: Feature) -> Range:
    if feature.name in SIGNED:
        return None, None
    return 0.0, 1.0 if feature.unit in ("share", "resultant length") else None


POSSIBLE: Final[dict[str, Range]] = {
    MISSING_SHARE: (0.0, MOST_MISSING),
    **{feature.name: _possible(feature) for feature in FEATURES},
}
"""What each feature can be by its definition: counts are not negative, shares are from 0 to 1."""


def columns(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Where features are in a row.

    Parameters
    ----------
    names
        Some of `NAMES`, in any order.

    Returns
    -------
    numpy.ndarray
        int64 [len(names)], in the order of `names`.

    Raises
    ------
    KeyError
        If a name is not a feature.
    """
    index = {name: column for column, name in enumerate(NAMES)}
    unknown = [name for name in names if name not in index]
    if unknown:
        raise KeyError(f"expected names of features, got {', '.join(unknown)}; the features are {', '.join(NAMES)}")
    return np.array([index[name] for name in names], dtype=np.int64)

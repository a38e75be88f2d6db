"""Outcomes of files and commits: whether they were repaired, how soon, and how much work followed.

A label looks at what came *after* a row's moment, up to a horizon, and at nothing else; features look at what came
before. A label is known only when the history covers the whole horizon: until then it is NaN, so that recent
commits do not look cleaner than they are. One who trains on rows up to a date may use only labels known by then
(`known_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from models.code_health.arrays import Bools, Floats, History, Ints, summed
from models.code_health.changes import DAY_S
from training.code_health.mining.extract import Extracted
from training.code_health.mining.history import Repository
from training.code_health.mining.imports import is_test
from training.code_health.mining.szz import MOST_FILES, Repairs

MUCH: Final = 10_000
"""Lines of following work that count as an impact of 1."""


@dataclass(frozen=True)
class Target:
    """One label: its column, how many days it looks ahead, and what it says."""

    name: str
    horizon_days: int
    definition: str


TARGETS: Final = (
    Target("risk", 180, "1 where a repair changes the file, or one of the commit's files, within 180 days, else 0"),
    Target(
        "bug",
        30,
        "1 where within 30 days a repair changes the file or, for a commit, takes away lines that it wrote, else 0",
    ),
    Target(
        "impact",
        30,
        "ln(1 + lines that later commits change in the subject's files within 30 days) / ln(1 + 10 000), at most 1",
    ),
)
"""The labels; files and commits have all of them, a project has `impact` alone."""


def labels(repository: Repository, extracted: Extracted, repairs: Repairs) -> pd.DataFrame:
    """Label rows by what followed their moments.

    Parameters
    ----------
    repository
        The history that the rows are from, as far as it is known today.
    extracted
        N rows.
    repairs
        Who repaired whose lines in it.

    Returns
    -------
    pandas.DataFrame
        N rows: a float column per target (NaN where it is not known, or not defined for the kind), and `repaired_days`,
        the days until a repair first took away lines of a commit (NaN where none has yet, and for other kinds).
    """
    history = repository.history
    row, file = _files_of(history, extracted)
    fixes = _find_fixes(repository)
    kind = np.array(extracted.kind, dtype=np.str_)
    repaired_days = _repaired_days(history, extracted, repairs)
    table: dict[str, Floats] = {}
    for target in TARGETS:
        known = known_s(extracted.moment_s, target) <= history.time_s[-1]
        if target.name == "impact":
            work = _following(history, extracted, row, file, target, history.added + history.deleted)
            value = np.minimum(np.log1p(work) / np.log1p(MUCH), 1.0)
        else:
            value = (_following(history, extracted, row, file, target, fixes) > 0).astype(np.float64)
            if target.name == "bug":
                value = np.where(kind == "commit", repaired_days <= target.horizon_days, value)
            known = known & (kind != "project")
        table[target.name] = np.where(known, value, np.nan)
    return pd.DataFrame({**table, "repaired_days": repaired_days})


def known_s(moment_s: Ints, target: Target) -> Ints:
    """When a label is known: int64 [N], seconds since 1970, from the moments [N] of its rows."""
    return moment_s + target.horizon_days * DAY_S


def _find_fixes(repository: Repository) -> Bools:
    """Whether each change [M] is part of a repair of one defect: no sweep over many files, no test."""
    history = repository.history
    sizes = np.bincount(history.commit, minlength=len(history.time_s))
    tests = np.array([is_test(change.path) for change in repository.changes], dtype=np.bool_)
    return history.fixes[history.commit] & (sizes[history.commit] <= MOST_FILES) & ~tests


def _files_of(history: History, extracted: Extracted) -> tuple[Ints, Ints]:
    """Pair rows with their files: int64 [P] each; a project has all files that were ever there by its moment."""
    own = np.flatnonzero(extracted.own >= 0)
    start, stop = (np.searchsorted(history.commit, extracted.own[own] + step) for step in (0, 1))
    rows = [np.repeat(own, stop - start), np.flatnonzero(extracted.file >= 0)]
    files = [
        np.concatenate([history.file[a:b] for a, b in zip(start.tolist(), stop.tolist(), strict=True)] or [rows[0]]),
        extracted.file[rows[1]],
    ]
    first = np.full(int(history.file.max(initial=-1)) + 1, len(history.time_s))
    np.minimum.at(first, history.file, history.commit)
    for place in np.flatnonzero(np.array(extracted.kind, dtype=np.str_) == "project").tolist():
        its = np.flatnonzero(first < extracted.until[place])
        rows.append(np.full(len(its), place))
        files.append(its)
    return np.concatenate(rows), np.concatenate(files)


def _following(
    history: History, extracted: Extracted, row: Ints, file: Ints, target: Target, weight: Ints | Bools
) -> Floats:
    """Sum a weight [M] of changes over each row's files, from after its moment to the horizon: float64 [N]."""
    width = len(history.time_s)
    key = history.file * width + history.commit
    order = np.argsort(key, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order].astype(np.float64))])
    # What arrives in the moment itself (the rest of a merged branch) is no later work.
    start = np.searchsorted(history.time_s, extracted.moment_s, side="right")
    stop = np.searchsorted(history.time_s, known_s(extracted.moment_s, target), side="right")
    low, high = (np.searchsorted(key[order], file * width + limit[row]) for limit in (start, stop))
    return summed(row, sums[high] - sums[low], len(extracted.kind))


def _repaired_days(history: History, extracted: Extracted, repairs: Repairs) -> Floats:
    """Days from the arrival of each row's commit to the first repair of its lines: float64 [N], NaN without one."""
    days = (history.time_s[repairs.fixing] - history.time_s[repairs.inducing]) / DAY_S
    soonest = np.full(len(history.time_s) + 1, np.inf)
    np.minimum.at(soonest, repairs.inducing, days)
    its = soonest[extracted.own]  # -1, no commit, reads the last place: none
    return np.where(np.isfinite(its), its, np.nan)

"""The features that commits tell: how often, how much, by whom and when the subjects' files were changed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.code_health.arrays import (
    Bools,
    Floats,
    History,
    Ints,
    Subjects,
    different,
    largest,
    mean,
    ratio,
    summed,
)
from models.code_health.features import RECENT_DAYS, YEAR_DAYS

DAY_S: Final = 86_400
MONTH_DAYS: Final = 30


@dataclass(frozen=True)
class ByFile:
    """The changes of a history sorted by file, then commit."""

    order: Ints
    key: Ints
    commits: int

    @classmethod
    def of(cls, history: History) -> ByFile:
        """Sort the changes of a history."""
        commits = len(history.time_s)
        key = history.file * commits + history.commit
        order = np.argsort(key, kind="stable")
        return cls(order, key[order], commits)

    def spans(self, file: Ints, until: Ints) -> tuple[Ints, Ints]:
        """Where the changes of each file [P] before each `until` [P] start in the order, and how many there are."""
        start = np.searchsorted(self.key, file * self.commits)
        return start, np.where(file < 0, 0, np.searchsorted(self.key, file * self.commits + until) - start)


def of_each_commit(history: History) -> dict[str, Floats]:
    """Measure each commit by what had happened until then: how its lines spread, and its author's experience.

    Parameters
    ----------
    history
        C commits.

    Returns
    -------
    dict of numpy.ndarray
        float64 [C] per feature.
    """
    count = len(history.time_s)
    churn = (history.added + history.deleted).astype(np.float64)
    share = churn / np.maximum(summed(history.commit, churn, count)[history.commit], 1.0)
    bits = -share * np.log2(np.where(share > 0, share, 1.0))
    experience, subsystem, recent = np.zeros(count), np.zeros(count), np.zeros(count)
    starts = np.searchsorted(history.commit, np.arange(count + 1))
    files = np.diff(starts).astype(np.float64)
    seen: defaultdict[tuple[int, int], set[int]] = defaultdict(set)  # (author, area): files
    for author in np.unique(history.author).tolist():
        its = np.flatnonzero((history.author == author) & (files > 0))
        days, number = history.time_s[its] / DAY_S, files[its]
        experience[its] = np.cumsum(number)
        for place, commit in enumerate(its.tolist()):
            recent[commit] = (number[: place + 1] / (1.0 + days[place] - days[: place + 1])).sum()
            part = slice(starts[commit], starts[commit + 1])
            areas = history.area[part].tolist()
            for area, file in zip(areas, history.file[part].tolist(), strict=True):
                seen[author, area].add(file)
            subsystem[commit] = sum(len(seen[author, area]) for area in set(areas))
    return {
        "change_entropy": summed(history.commit, bits, count),
        "author_experience": experience,
        "subsystem_experience": subsystem,
        "recent_experience": recent,
        "fix_share": history.fixes.astype(np.float64),
    }


def of_changes(
    history: History, by_file: ByFile, commits: dict[str, Floats], subjects: Subjects, lines: Floats
) -> dict[str, Floats]:
    """Measure the commits to the subjects' files.

    Parameters
    ----------
    history, by_file
        M changes, and the same sorted by file.
    commits
        What `of_each_commit` says of the history.
    subjects
        S subjects with P files.
    lines
        float64 [P], lines of each file, NaN where it is gone.

    Returns
    -------
    dict of numpy.ndarray
        float64 [S] per feature; NaN for a subject without history.
    """
    count = len(subjects.until)
    start, number = by_file.spans(subjects.file, subjects.until[subjects.subject])  # [P]
    pair = np.repeat(np.arange(len(number)), number)  # [N] the (subject, file) of each change until the moment
    change = by_file.order[np.arange(len(pair)) + np.repeat(start - np.cumsum(number) + number, number)]  # [N]
    # A commit counts once for a subject, however many of its files it touches.
    width = len(history.time_s)
    keys, which = np.unique(subjects.subject[pair] * width + history.commit[change], return_inverse=True)
    who, commit = np.divmod(keys, width)  # [K] subject and commit, by subject and then in order of arrival
    days = (subjects.moment_s[who] - history.time_s[commit]) / DAY_S
    latest = np.append(who[1:] != who[:-1], np.ones(min(len(who), 1), dtype=np.bool_))
    own = subjects.own[who]
    recent = np.where(own >= 0, commit == own, (days < RECENT_DAYS) | latest)

    def total(weights: npt.NDArray[Any]) -> Floats:
        return summed(who, weights, count)

    added, deleted = summed(which, history.added[change], len(keys)), summed(which, history.deleted[change], len(keys))
    of_commit = {name: values[commit] for name, values in commits.items()}
    of_commit |= {"lines_added": added, "lines_deleted": deleted}
    measured = {name: ratio(total(values * recent), total(recent)) for name, values in of_commit.items()}

    quarter, month = total(days < RECENT_DAYS), total(days < MONTH_DAYS)
    measured["commit_frequency"] = total(np.ones(len(who))) / np.fmax(largest(who, days, count) / MONTH_DAYS, 1.0)
    measured["contributors"] = different(who, history.author[commit], count)
    measured["velocity"] = quarter * (MONTH_DAYS / RECENT_DAYS)
    measured["acceleration"] = np.log((1.0 + month) / (1.0 + (quarter - month) / 2.0))
    size = summed(subjects.subject, np.nan_to_num(lines), count)
    net = total((added - deleted) * (days < RECENT_DAYS))
    measured["growth"] = np.clip(net / np.maximum(np.maximum(size, size - net), 1.0), -1.0, 1.0)
    measured["stability"] = ratio(size, size + total((added + deleted) * (days < RECENT_DAYS)))
    measured["seasonality"] = _seasonality(who, history.time_s[commit], days < YEAR_DAYS, count)
    measured |= _of_files(history, subjects, pair, change, number, lines)
    known = summed(subjects.subject, number > 0, count) > 0
    return {name: np.where(known, values, np.nan) for name, values in measured.items()}


def _of_files(
    history: History, subjects: Subjects, pair: Ints, change: Ints, number: Ints, lines: Floats
) -> dict[str, Floats]:
    """Measure each file's own changes, then put them together over the subject: float64 [S] each."""
    commit = history.commit[change]
    days = (subjects.moment_s[subjects.subject[pair]] - history.time_s[commit]) / DAY_S  # [N]
    known = number > 0
    ends = np.cumsum(number)
    age, since = np.full(len(number), np.nan), np.full(len(number), np.nan)
    age[known], since[known] = days[(ends - number)[known]], days[ends[known] - 1]
    # A commit is the last change of its own files; what is asked is how long they had rested before it.
    own = known & (subjects.own[subjects.subject] >= 0)
    since[own] = np.where(number[own] > 1, days[np.maximum(ends[own] - 2, 0)], 0.0)
    hot = np.log1p(summed(pair, days < YEAR_DAYS, len(number))) * np.log1p(np.nan_to_num(lines))
    count = len(subjects.until)
    return {
        "age": mean(subjects.subject, age, count),
        "days_since_change": mean(subjects.subject, since, count),
        "changes": mean(subjects.subject, np.where(known, number, np.nan), count),
        "hotspot": largest(subjects.subject, hot, count),
    }


def of_branches(history: History, subjects: Subjects) -> dict[str, Floats]:
    """Measure the merges of the whole project until each subject's moment.

    Parameters
    ----------
    history
        C commits.
    subjects
        S subjects.

    Returns
    -------
    dict of numpy.ndarray
        float64 [S] per feature.
    """
    merges = np.flatnonzero(history.merge)
    time_s, fork_s = history.time_s[merges], np.minimum(history.fork_s, history.time_s)[merges]
    window_s = RECENT_DAYS * DAY_S
    since_s = subjects.moment_s - window_s
    start = np.searchsorted(time_s, since_s, side="right")
    stop = np.maximum(np.searchsorted(merges, subjects.until), start)
    open_s = [
        int((time_s[a:b] - np.maximum(fork_s[a:b], since)).sum())
        for a, b, since in zip(start.tolist(), stop.tolist(), since_s.tolist(), strict=True)
    ]
    conflicts = np.concatenate([[0.0], np.cumsum(history.conflicted[merges])])
    return {
        "branch_complexity": np.array(open_s, dtype=np.float64) / window_s,
        "merge_conflict_ratio": (conflicts[stop] - conflicts[start]) / np.maximum(stop - start, 1),
    }


def _seasonality(who: Ints, time_s: Ints, counted: Bools, count: int) -> Floats:
    """Resultant length of the time of the week, corrected for the number of commits: float64 [count]."""
    angle = (time_s % (7 * DAY_S)) * (2.0 * np.pi / (7 * DAY_S))
    number = summed(who, counted, count)
    east, north = summed(who, np.cos(angle) * counted, count), summed(who, np.sin(angle) * counted, count)
    # E[R^2] = n for n commits at random: what exceeds it, of the n(n - 1) that could.
    square = ratio(east**2 + north**2 - number, number * (number - 1.0))
    return np.where(number >= 5, np.sqrt(np.clip(square, 0.0, 1.0)), np.nan)

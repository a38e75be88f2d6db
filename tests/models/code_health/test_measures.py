"""The features from arrays, against the same written as plainly as can be."""

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.code_health import measures
from models.code_health.arrays import Code, History, Subjects
from models.code_health.features import NAMES, WIDTH
from models.code_health.measures import duplicated, rows

DAY_S = 86_400
FILES = 5


@st.composite
def histories(draw: st.DrawFn) -> History:
    count = draw(st.integers(1, 25))
    hours = draw(st.lists(st.integers(0, 24 * 200), min_size=count, max_size=count).map(sorted))
    touched = [draw(st.lists(st.integers(0, FILES - 1), max_size=FILES, unique=True)) for _ in range(count)]
    lines = st.integers(0, 50)
    changes = [(c, f, f % 2, draw(lines), draw(lines)) for c, some in enumerate(touched) for f in some]
    commit, file, area, added, deleted = np.array(changes, dtype=np.int64).reshape(-1, 5).T
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    merge = np.array(draw(flags)) & (np.bincount(commit, minlength=count) == 0)
    time_s = np.array(hours, dtype=np.int64) * 3600
    return History(
        time_s=time_s,
        author=np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), dtype=np.int64),
        fixes=np.array(draw(flags)),
        merge=merge,
        conflicted=merge & np.array(draw(flags)),
        fork_s=np.maximum(time_s - draw(st.integers(0, 150)) * DAY_S, 0),
        commit=commit,
        file=file,
        area=area,
        added=added,
        deleted=deleted,
    )


def subjects_of(history: History) -> Subjects:
    """Every file and the project at the end, and every commit as it arrives."""
    end, after = len(history.time_s), int(history.time_s[-1]) + 5 * DAY_S
    own = np.unique(history.commit)
    pairs = [(file, file) for file in range(FILES)] + [(FILES, file) for file in range(FILES)]
    pairs += [
        (FILES + 1 + place, file)
        for place, commit in enumerate(own.tolist())
        for file in history.file[history.commit == commit].tolist()
    ]
    subject, file = np.array(pairs, dtype=np.int64).T
    wide = np.full(FILES + 1, 1)
    return Subjects(
        subject=subject,
        file=file,
        until=np.concatenate([wide * end, own + 1]),
        moment_s=np.concatenate([wide * after, history.time_s[own]]),
        own=np.concatenate([wide * -1, own]),
    )


def code_of(count: int, seed: int = 0) -> Code:
    chance = np.random.default_rng(seed)
    told: dict[str, Any] = {one.name: chance.integers(1, 40, count).astype(np.float64) for one in fields(Code)}
    told["tested"] = chance.integers(0, 2, count).astype(np.float64)
    told["directory"] = chance.integers(0, 3, count)
    return Code(**told)


def plainly(history: History, subjects: Subjects, code: Code, place: int) -> dict[str, float] | None:
    """Describe one subject by loops over commits."""
    pairs = np.flatnonzero(subjects.subject == place)
    files, lines = subjects.file[pairs].tolist(), code.lines[pairs]
    until, moment, own = int(subjects.until[place]), int(subjects.moment_s[place]), int(subjects.own[place])
    ago = [(moment - int(one)) / DAY_S for one in history.time_s]
    changes = [
        (int(c), int(f), int(a), int(d))
        for c, f, a, d in zip(history.commit, history.file, history.added, history.deleted, strict=True)
        if f in files and c < until
    ]
    commits = sorted({c for c, *_ in changes})
    if not commits:
        return None
    recent = [own] if own >= 0 else [c for c in commits if ago[c] < 90 or c == commits[-1]]
    seen = [c for c in commits if ago[c] < 90]
    of_file = {file: [c for c, f, *_ in changes if f == file] for file in files}
    touched = {f: cs for f, cs in of_file.items() if cs}
    month = sum(ago[c] < 30 for c in commits)
    size = lines.sum()
    net = sum(a - d for c, _, a, d in changes if ago[c] < 90)
    churn = sum(a + d for c, _, a, d in changes if ago[c] < 90)
    since = [
        (0.0 if len(cs) < 2 else ago[cs[-2]]) if own >= 0 else ago[cs[-1]]  # a commit's own change is its last
        for cs in touched.values()
    ]
    merges = [c for c in range(until) if history.merge[c] and ago[c] < 90]
    starts = [max(int(history.fork_s[c]), moment - 90 * DAY_S) for c in merges]
    return {
        "commit_frequency": len(commits) / max(*(ago[c] for c in commits), 30) * 30,
        "changes": np.mean([len(cs) for cs in touched.values()]),
        "contributors": len({int(history.author[c]) for c in commits}),
        "author_experience": np.mean([experience(history, c)[0] for c in recent]),
        "subsystem_experience": np.mean([experience(history, c)[1] for c in recent]),
        "recent_experience": np.mean([experience(history, c)[2] for c in recent]),
        "lines_added": sum(a for c, _, a, _ in changes if c in recent) / len(recent),
        "lines_deleted": sum(d for c, _, _, d in changes if c in recent) / len(recent),
        "change_entropy": np.mean([entropy(history, c) for c in recent]),
        "fix_share": np.mean([bool(history.fixes[c]) for c in recent]),
        "hotspot": max(
            math.log1p(sum(ago[c] < 365 for c in of_file[f])) * math.log1p(n) for f, n in zip(files, lines, strict=True)
        ),
        "age": np.mean([ago[cs[0]] for cs in touched.values()]),
        "days_since_change": np.mean(since),
        "velocity": len(seen) / 3,
        "acceleration": math.log((1 + month) / (1 + (len(seen) - month) / 2)),
        "growth": min(max(net / max(size, size - net, 1), -1), 1),
        "stability": size / (size + churn),
        "branch_complexity": sum(int(history.time_s[c]) - s for c, s in zip(merges, starts, strict=True))
        / (90 * DAY_S),
        "merge_conflict_ratio": sum(bool(history.conflicted[c]) for c in merges) / max(len(merges), 1),
        "files": len(files),
        "directories": len(set(code.directory[pairs].tolist())),
        "lines_of_code": lines.mean(),
        "function_length": code.function_lines[pairs].sum() / code.functions[pairs].sum(),
        "cyclomatic_max": code.paths_max[pairs].max(),
        "test_coverage": (code.tested[pairs] * lines).sum() / size,
        "debt_markers": 1000 * code.markers[pairs].sum() / size,
    }


def experience(history: History, commit: int) -> tuple[int, int, float]:
    author = history.author[commit]
    its = [
        (int(c), int(f), int(area))
        for c, f, area in zip(history.commit, history.file, history.area, strict=True)
        if history.author[c] == author and c <= commit
    ]
    areas = set(history.area[history.commit == commit].tolist())
    ago = [(history.time_s[commit] - history.time_s[c]) / DAY_S for c, *_ in its]
    return len(its), len({(f, area) for _, f, area in its if area in areas}), sum(1 / (1 + days) for days in ago)


def entropy(history: History, commit: int) -> float:
    churn = (history.added + history.deleted)[history.commit == commit]
    shares = churn[churn > 0] / max(churn.sum(), 1)
    return -float((shares * np.log2(shares)).sum())


@settings(max_examples=60, deadline=None)
@given(histories())
def test_rows_say_what_loops_over_the_commits_say(history: History) -> None:
    subjects = subjects_of(history)
    code = code_of(len(subjects.subject))
    table = rows(history, subjects, code)
    for place, row in enumerate(table):
        expected = plainly(history, subjects, code, place)
        if expected is None:
            assert np.isnan(row[NAMES.index("changes")])
            continue
        told = dict(zip(NAMES, row.tolist(), strict=True))
        assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(histories(), st.integers(1, 30))
def test_rows_do_not_depend_on_the_piece_they_are_computed_in(history: History, most: int) -> None:
    subjects = subjects_of(history)
    code = code_of(len(subjects.subject))
    whole = rows(history, subjects, code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "MOST_PAIRS", most)
        np.testing.assert_array_equal(rows(history, subjects, code), whole)


@settings(max_examples=30, deadline=None)
@given(histories(), st.integers(0, 24))
def test_nothing_after_a_row_s_commits_is_read(history: History, cut: int) -> None:
    """The rows of commits are the same whether or not the history goes on after them."""
    cut = min(cut, len(history.time_s) - 1) + 1
    kept = history.commit < cut
    shorter = History(
        *(getattr(history, name)[:cut] for name in ("time_s", "author", "fixes", "merge", "conflicted", "fork_s")),
        *(getattr(history, name)[kept] for name in ("commit", "file", "area", "added", "deleted")),
    )
    own = np.unique(shorter.commit)
    subjects = Subjects(np.searchsorted(own, shorter.commit), shorter.file, own + 1, shorter.time_s[own], own)
    code = code_of(len(shorter.commit))
    np.testing.assert_array_equal(rows(shorter, subjects, code), rows(history, subjects, code))


def test_seasonality_is_one_for_a_fixed_hour_and_near_zero_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(hours: Iterable[int]) -> float:
        time_s = np.sort(np.array(hours, dtype=np.int64) * 3600)
        count = len(time_s)
        zero, no = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
        history = History(time_s, zero, no, no, no, time_s, np.arange(count), zero, zero, zero, zero)
        one = np.zeros(1, dtype=np.int64)
        subjects = Subjects(one, one, one + count, time_s[-1:], one - 1)
        return float(rows(history, subjects, code_of(1))[0, NAMES.index("seasonality")])

    assert told([24 * 7 * week + 10 for week in range(20)]) == pytest.approx(1.0)
    assert told(np.random.default_rng(0).integers(0, 24 * 364, 400)) < 0.15
    assert math.isnan(told([1, 2, 3, 4]))


def test_a_file_that_is_gone_and_one_without_functions_leave_no_trace_in_the_means() -> None:
    count = 3
    code = code_of(count)
    told: dict[str, Any] = {one.name: getattr(code, one.name).copy() for one in fields(Code)}
    for name, values in told.items():
        if name != "directory":
            values[2] = np.nan
    told["functions"][:], told["paths"][:] = [2, 0, np.nan], [6, 0, np.nan]
    zero = np.zeros(0, dtype=np.int64)
    history = History(
        *(np.zeros(1, dtype=kind) for kind in (int, int, bool, bool, bool, int)), *(zero for _ in range(5))
    )
    one = np.zeros(1, dtype=np.int64)
    subjects = Subjects(np.zeros(count, dtype=np.int64), np.full(count, -1), one + 1, one, one - 1)
    row = dict(zip(NAMES, rows(history, subjects, Code(**told))[0].tolist(), strict=True))
    assert (row["files"], row["functions"], row["cyclomatic_complexity"]) == (3, 1, 3)
    assert math.isnan(row["changes"])


def test_no_subjects_give_no_rows() -> None:
    zero = np.zeros(0, dtype=np.int64)
    no = np.zeros(0, dtype=np.bool_)
    history = History(zero, zero, no, no, no, zero, zero, zero, zero, zero, zero)
    assert rows(history, Subjects(zero, zero, zero, zero, zero), code_of(0)).shape == (0, WIDTH)


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=4))
def test_duplicated_lines_are_those_of_runs_found_twice(texts: list[list[int]]) -> None:
    run = 3
    blocks = [[tuple(text[i : i + run]) for i in range(len(text) - run + 1)] for text in texts]
    every = [block for some in blocks for block in some]
    expected = [
        len({i + step for i, block in enumerate(some) for step in range(run) if every.count(block) > 1})
        for some in blocks
    ]
    hashes = [np.array([hash(block) for block in some], dtype=np.int64).view(np.uint64) for some in blocks]
    assert duplicated(hashes, run).tolist() == expected

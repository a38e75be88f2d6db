"""The recorded sets on code, one by one: what their tables must hold, and the questions that are made of them.

Each set has columns of its own; a few more are derived from them: ratios, and how busy the project was before. Nothing
is derived from later rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float32]

MOST_DAYS_LATE, MOST_POINTS_SHORT = 1000, 100
"""What counts as 1 when a delay or a shortfall is put on a logarithmic scale from 0."""

JIT: Final = ("ns", "nd", "nf", "entropy", "la", "ld", "lt", "fix", "ndev", "age", "nuc", "exp", "rexp", "sexp")
APACHE: Final = ("la", "ld", "nd", "ns", "ent", "ndev", "age", "nuc", "aexp", "arexp", "asexp")
ISSUE: Final = (
    "discussion", "repetition", "perofdelay", "workload", "no_comment", "no_priority_change", "no_fixversion",
    "no_fixversion_change", "no_issuelink", "no_blocking", "no_blockedby", "no_affectversion", "reporterrep",
    "no_des_change", "ProgressTime", "RemainingDay",
)  # fmt: skip
"""Without the topics: they were fitted on all issues, those of the future included."""

SPRINT: Final = (
    "planday", "no_issue_starttime", "vel_starttime", "no_issue_added", "vel_added", "no_issue_removed", "vel_removed",
    "no_issuetodo", "vel_todo", "no_issueinprogress", "vel_inprogress", "no_issuedone", "vel_done", "no_admin",
    "no_teammember",
)  # fmt: skip


@dataclass(frozen=True)
class RecordedSet:
    """A recorded set as a question of yes and no.

    Attributes
    ----------
    name
        Of its file, and what sets it apart from others of the same file.
    columns
        What it records, float32 [N] by name; NaN is missing.
    projects
        str [N].
    series
        str [N]: rows that are compared with each other, in order of time; a project, or one kind of its rows.
    order
        float64 [N], place in the project's time from 0 to 1; NaN throughout where the set does not tell.
    target
        float32 [N], 0 or 1.
    amount
        float32 [N], from 0 to 1 how much of it, on a logarithmic scale; None where the set does not tell.
    """

    name: str
    columns: Mapping[str, Floats]
    projects: npt.NDArray[np.str_]
    series: npt.NDArray[np.str_]
    order: npt.NDArray[np.float64]
    target: Floats
    amount: Floats | None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.target)


def _schema(numbers: tuple[str, ...], signed: tuple[str, ...] = (), **more: Any) -> Any:
    """Return a schema of numbers that are not negative, but for the signed ones, and may be missing."""
    import pandera.pandas as pa

    columns = {
        name: pa.Column(float, pa.Check.in_range(-1e6 if name in signed else 0, 1e6), nullable=True) for name in numbers
    }
    return pa.DataFrameSchema({"project": pa.Column(str), **columns, **more}, coerce=True)


def _jit_schema() -> Any:
    import pandera.pandas as pa

    at_least = pa.Check.ge(1)
    return _schema(
        JIT,
        commit=pa.Column(str, pa.Check.str_matches(r"^[0-9a-f]{40}$"), unique=True),
        author_unix=pa.Column("int64", pa.Check.in_range(10**9, 2 * 10**9)),
        bug=pa.Column("int64", pa.Check.isin((0, 1))),
        nf=pa.Column(float, at_least),
    )


def _jit(name: str, frame: pd.DataFrame) -> list[RecordedSet]:
    """Take commits by their own columns, and by those that mean the same as one of our 35 features."""
    frame = frame.sort_values(["project", "author_unix"], kind="stable").reset_index(drop=True)
    columns = _floats(frame, JIT)
    nf, la, ld, lt, nuc = (columns[one] for one in ("nf", "la", "ld", "lt", "nuc"))
    time = frame["author_unix"].to_numpy(np.float64)
    derived = {
        "churn": la + ld,
        "net": la - ld,
        "share_added": la / (lt + 1),
        "share_deleted": ld / (lt + 1),
        "churn_per_file": (la + ld) / nf,
        "changes_per_file": nuc / nf,
        "recent_share": columns["rexp"] / (columns["exp"] + 1),
        "subsystem_share": columns["sexp"] / (columns["exp"] + 1),
        **_pace(frame["project"].to_numpy(dtype=np.str_), time, (86_400, 7 * 86_400, 30 * 86_400)),
    }
    ours = {
        "files": nf,
        "directories": columns["nd"],
        "change_entropy": columns["entropy"],
        "lines_added": la,
        "lines_deleted": ld,
        "lines_of_code": np.maximum(lt + la - ld, 0) / nf,
        "fix_share": columns["fix"],
        "contributors": columns["ndev"],
        "changes": nuc / nf,
        "days_since_change": columns["age"],
        "author_experience": columns["exp"],
        "recent_experience": columns["rexp"],
        "subsystem_experience": columns["sexp"],
    }
    whole = _set(name, frame, columns | derived, frame["bug"])
    return [whole, _set(f"{name} as {len(ours)} of the 35", frame, ours, frame["bug"])]


def _apache_schema() -> Any:
    import pandera.pandas as pa

    return _schema(
        APACHE, commit=pa.Column(str, unique=True), bug=pa.Column("int64", pa.Check.isin((0, 1)))
    )  # rows are in the order of time within each project


def _apache(name: str, frame: pd.DataFrame) -> list[RecordedSet]:
    columns = _floats(frame, APACHE)
    churn = columns["la"] + columns["ld"]
    derived = {
        "churn": churn,
        "net": columns["la"] - columns["ld"],
        "share_added": columns["la"] / (churn + 1),
        "churn_per_directory": churn / columns["nd"],
    }
    return [_set(name, frame, columns | derived, frame["bug"])]


def _issue_schema() -> Any:
    import pandera.pandas as pa

    return _schema(
        ISSUE,
        snapshot=pa.Column(str, pa.Check.isin(("creation", "due", "discussion"))),
        issuekey=pa.Column(str),
        delaydays=pa.Column(float, pa.Check.in_range(0, 1e5)),
        openeddate=pa.Column("datetime64[ns]"),
        type=pa.Column(str, nullable=True),
        priority=pa.Column(str, nullable=True),
    )


def _issues(name: str, frame: pd.DataFrame) -> list[RecordedSet]:
    """Take the snapshot at creation alone, for early warning; and all three of each issue.

    As they were recorded: of an issue whose deadline was set later, the days to it are there at its creation already.
    """
    frame = frame.sort_values(["project", "openeddate", "issuekey"], kind="stable")
    early = frame[frame["snapshot"] == "creation"]
    whole = frame[frame.groupby(["project", "issuekey"])["snapshot"].transform("nunique") == 3]
    named = {name: early, f"{name} at any time": whole}
    return [_delays(one, rows.reset_index(drop=True)) for one, rows in named.items() if len(rows)]


def _delays(name: str, frame: pd.DataFrame) -> RecordedSet:
    series = (frame["project"] + " " + frame["snapshot"]).to_numpy(dtype=np.str_)
    opened = frame["openeddate"].dt
    days = frame["openeddate"].to_numpy().astype("datetime64[D]").astype(np.float64)
    columns = _floats(frame, ISSUE)
    kinds = {key: _common(frame[key]) for key in ("type", "priority")}
    derived = {
        **{f"{key}_{value}": (frame[key] == value).to_numpy(np.float32) for key in kinds for value in kinds[key]},
        "late_share": columns["perofdelay"] / (columns["workload"] + 1),
        "month": opened.month.to_numpy(np.float32),
        "weekday": opened.day_of_week.to_numpy(np.float32),
        **_pace(series, days, (7, 30)),
    }
    late = frame["delaydays"].to_numpy(np.float64)
    amount = np.minimum(1, np.log1p(late) / np.log1p(MOST_DAYS_LATE)).astype(np.float32)
    return _set(name, frame, columns | derived, frame["delaydays"] > 0, amount, series=series)


def _sprint_schema() -> Any:
    import pandera.pandas as pa

    return _schema(
        SPRINT,
        ("vel_todo",),
        pct_elapsed=pa.Column("int64", pa.Check.isin((0, 30, 50, 80))),
        sprintid=pa.Column("int64"),
        vel_diff=pa.Column(float),
    )


def _sprints(name: str, frame: pd.DataFrame) -> list[RecordedSet]:
    """Take the moment when 30 % of a sprint is over; it is at risk if it delivers less than what remains committed."""
    frame = frame[frame["pct_elapsed"] == 30].sort_values(["project", "sprintid"]).reset_index(drop=True)
    columns = _floats(frame, SPRINT)
    committed = columns["vel_starttime"] + columns["vel_added"] - columns["vel_removed"]
    issues = columns["no_issue_starttime"] + columns["no_issue_added"] + 1
    scale = np.maximum(columns["vel_starttime"] + columns["vel_added"], 0) + 1
    derived = {
        "committed": committed,
        "committed_per_day": committed / (columns["planday"] + 1),
        "committed_per_member": committed / np.maximum(columns["no_teammember"], 1),
        "points_per_issue": columns["vel_starttime"] / (columns["no_issue_starttime"] + 1),
        "issues_done_share": columns["no_issuedone"] / issues,
        **{f"{one}_share": columns[one] / scale for one in ("vel_added", "vel_removed", "vel_todo", "vel_done")},
    }
    short = np.maximum(-frame["vel_diff"].to_numpy(np.float64), 0)
    amount = np.minimum(1, np.log1p(short) / np.log1p(MOST_POINTS_SHORT)).astype(np.float32)
    return [_set(name, frame, columns | derived, frame["vel_diff"] < 0, amount)]


def _class_schema() -> Any:
    import pandera.pandas as pa

    return _schema((), bug=pa.Column("int64", pa.Check.isin((0, 1))))


def _classes(name: str, frame: pd.DataFrame) -> list[RecordedSet]:
    """Take the 61 metrics as they are; small classes of equal metrics are classes anyway, if of one project."""
    columns = _floats(frame, tuple(column for column in frame.columns if column not in ("project", "bug")))
    return [_set(name, frame, columns, frame["bug"], timed=False)]


def _set(
    name: str,
    frame: pd.DataFrame,
    columns: Mapping[str, npt.NDArray[Any]],
    target: Any,
    amount: Floats | None = None,
    timed: bool = True,
    series: npt.NDArray[np.str_] | None = None,
) -> RecordedSet:
    projects = frame["project"].to_numpy(dtype=np.str_)
    series = projects if series is None else series
    grouped = pd.Series(series).groupby(series)
    place = grouped.cumcount() / grouped.transform("size")
    return RecordedSet(
        name,
        {key: np.asarray(values, np.float32) for key, values in columns.items()},
        projects,
        series,
        place.to_numpy(np.float64) if timed else np.full(len(frame), np.nan),
        np.asarray(target, np.float32),
        amount,
    )


def _floats(frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, Floats]:
    return {name: frame[name].to_numpy(np.float32) for name in names}


def _common(values: pd.Series[str]) -> list[str]:
    counts = values.value_counts()
    return sorted(counts[counts >= 200].index.tolist())


def _pace(
    series: npt.NDArray[np.str_], time: npt.NDArray[np.float64], windows: tuple[int, ...]
) -> dict[str, npt.NDArray[np.float64]]:
    """Count what came before each row in its series, within windows in the unit of `time`; rows are in order."""
    pace = {f"pace_{window}": np.zeros(len(time)) for window in windows}
    for one in np.unique(series):
        mine = np.flatnonzero(series == one)
        for window in windows:
            first = np.searchsorted(time[mine], time[mine] - window)
            pace[f"pace_{window}"][mine] = np.searchsorted(time[mine], time[mine]) - first
    return pace


READERS: Final[dict[str, tuple[Callable[[], Any], Callable[[str, pd.DataFrame], list[RecordedSet]]]]] = {
    "jit_commits": (_jit_schema, _jit),
    "apachejit_commits": (_apache_schema, _apache),
    "issue_delay": (_issue_schema, _issues),
    "sprints": (_sprint_schema, _sprints),
    "aeeem_class": (_class_schema, _classes),
}
"""Per file its schema and its reader."""

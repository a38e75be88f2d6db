"""Generated code health: what the 35 features say of commits and files of simulated projects, and their outcomes.

`training.code_health.synthetic.project` makes the histories; they are measured by the code that measures real ones, at
the moment of each commit and, once a month, of some files. What is missing is missing for a reason: files without
functions, projects whose imports or authors are unknown, too few commits for a season.

It is meant to be as hard as recorded defect data; the family's documentation states what plain baselines reach, and a
test keeps them there.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.code_health.arrays import Code, History, Subjects
from models.code_health.features import columns
from models.code_health.measures import rows
from training.code_health.mining.targets import MUCH
from training.code_health.rows import HORIZON_DAYS, Rows
from training.code_health.synthetic.project import SimulatedProject

START: Final = np.datetime64("2019-01-07", "D")
"""The day on which every project begins to be watched, a Monday."""

MONTHLY_FILES: Final = 6
"""Files measured per project and month."""

AUTHORED: Final = ("contributors", "author_experience", "subsystem_experience", "recent_experience")
"""The features that need to know who made a commit."""


@dataclass(frozen=True)
class Synthesis:
    """What to generate: how many projects, watched for how many years, how many unusual commits among all, the seed."""

    projects: int = 16
    years: float = 4.0
    anomalies: float = 0.05
    seed: int = 0


class Subject(NamedTuple):
    """Files at a time: how many commits had arrived, the commit that it is or -1, and the code of each file then."""

    time: float
    until: int
    own: int
    files: tuple[int, ...]
    code: list[tuple[float, ...]]


def generate(what: Synthesis) -> Rows:
    """Generate rows, project by project, each in the order of time.

    Parameters
    ----------
    what
        Equal ones give equal rows; more projects leave the first ones as they are.

    Returns
    -------
    Rows
        Of kinds "commit" and "file", with all targets.
    """
    made = [_project(what, number) for number in range(what.projects)]
    targets = np.concatenate([targets for _, _, targets in made])
    subjects = [(f"project-{number:02d}", one) for number, (some, _, _) in enumerate(made) for one in some]
    return Rows(
        np.concatenate([features for _, features, _ in made]),
        np.array([name for name, _ in subjects]),
        np.array(["commit" if one.own >= 0 else "file" for _, one in subjects]),
        START + np.array([int(one.time) for _, one in subjects]),
        {name: targets[:, column] for column, name in enumerate(HORIZON_DAYS)},
    )


def _project(what: Synthesis, number: int) -> tuple[list[Subject], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Let one project happen, and measure it: subjects [S], features [S, 35], targets [S, 4]."""
    project = SimulatedProject(np.random.default_rng((what.seed, number)), what.years * 365, what.anomalies)
    chooser = np.random.default_rng((what.seed, number, 1))  # its own, so that measuring more changes no history
    subjects: list[Subject] = []

    def measure(time: float, own: int, files: tuple[int, ...]) -> None:
        subjects.append(Subject(time, len(project.commits), own, files, [project.files[one].code() for one in files]))

    def on_commit(index: int) -> None:
        measure(project.commits[index].time, index, project.commits[index].files)

    def on_month(time: float) -> None:
        changed = [one for one, file in enumerate(project.files) if file.touched]
        for place in chooser.permutation(len(changed))[:MONTHLY_FILES].tolist():
            measure(max(time, project.commits[-1].time), -1, (changed[place],))

    project.run(on_commit, on_month)
    features = rows(_history(project), *_describe(project, subjects))
    if project.no_authors:
        features[:, columns(AUTHORED)] = np.nan
    return subjects, features, np.array([_outcome(project, one) for one in subjects], np.float32)


def _seconds(days: list[float]) -> npt.NDArray[np.int64]:
    start_s = int(START.astype("datetime64[s]").astype(np.int64))
    return start_s + (np.array(days) * 86_400).astype(np.int64)


def _history(project: SimulatedProject) -> History:
    commits = project.commits
    changes = [
        (number, *change)
        for number, one in enumerate(commits)
        for change in zip(one.files, one.added, one.deleted, strict=True)
    ]
    commit, file, added, deleted = np.array(changes).T.astype(np.int64)
    return History(
        time_s=_seconds([one.time for one in commits]),
        author=np.array([one.author for one in commits]),
        fixes=np.array([one.says_fix for one in commits]),
        merge=np.array([one.merge for one in commits]),
        conflicted=np.array([one.conflicted for one in commits]),
        fork_s=_seconds([one.forked for one in commits]),
        commit=commit,
        file=file,
        area=np.array([one.directory for one in project.files])[file],
        added=added,
        deleted=deleted,
    )


def _describe(project: SimulatedProject, subjects: list[Subject]) -> tuple[Subjects, Code]:
    sizes = [len(one.files) for one in subjects]
    file = np.array([number for one in subjects for number in one.files])
    facts = np.array([code for one in subjects for code in one.code]).T
    named = dict(zip([one.name for one in fields(Code)], facts, strict=False))
    if project.no_imports:
        named |= {name: np.full(len(file), np.nan) for name in ("fan_out", "fan_in")}
    return Subjects(
        subject=np.repeat(np.arange(len(subjects)), sizes),
        file=file,
        until=np.array([one.until for one in subjects]),
        moment_s=_seconds([one.time for one in subjects]),
        own=np.array([one.own for one in subjects]),
    ), Code(**named, directory=np.array([one.directory for one in project.files])[file])


def _outcome(project: SimulatedProject, subject: Subject) -> tuple[float, ...]:
    """Return the targets in the order of `HORIZON_DAYS`, as the history tells them; NaN where it ends too early."""
    repairs, work = [], 0.0
    for one in subject.files:
        touched = project.files[one].touched
        for number in touched[bisect_left(touched, subject.until) :]:
            commit = project.commits[number]
            later = commit.time - subject.time
            if later > HORIZON_DAYS["risk"]:
                break
            if commit.says_fix:
                repairs.append(later)
            if later <= HORIZON_DAYS["impact"]:
                place = commit.files.index(one)
                work += commit.added[place] + commit.deleted[place]
    first = min(repairs, default=math.inf)
    soon = project.blamed.get(subject.own, math.inf) - subject.time if subject.own >= 0 else first
    known = {name: subject.time + days <= project.days for name, days in HORIZON_DAYS.items()}
    return (
        float(bool(repairs)) if known["risk"] else math.nan,
        float(soon <= HORIZON_DAYS["bug"]) if known["bug"] else math.nan,
        min(1.0, math.log1p(work) / math.log1p(MUCH)) if known["impact"] else math.nan,
        float(project.commits[subject.own].anomaly) if subject.own >= 0 else math.nan,
    )

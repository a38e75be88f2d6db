"""The steps of the loop, each a command: what `scripts/loop.py` and the orchestrator run is written here, once.

load ─> train ─> evaluate ─> promote MODEL … ─> finish        a family's week; its day is the same without load
train ─> promote MODEL … ─> finish                            what a person asked for
drift, held_out, retention, backup                            each day's chores, which wait for none of these
report                                                        a week's, after its families' runs; it names the
                                                              decisions that wait or failed
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marina.monitoring.loop_metrics import LAST_STEP
from marina.settings import Settings

NAME = "loop"
"""Who decides, in the ledger; and the lease of those who act."""

HOUR_S = 3_600.0
LOAD_LIMIT_S = EVALUATE_LIMIT_S = PROMOTE_LIMIT_S = CHORE_LIMIT_S = HOUR_S

NO_COMMAND = 127
"""Exit status, as shells have it, of a step whose command is not there."""

NOT_PRUNED = 7
"""Exit status of a backup that was made, while what is past keeping was not deleted: it is not made again for that."""

DAILY = "daily"
WEEK = ("load", "train", "promote", LAST_STEP)
DAY = WEEK[1:]
SHOWN_WEEK = ("load", "train", "evaluate", "promote", LAST_STEP)
SHOWN_DAY = SHOWN_WEEK[1:]

ALL = "all"
"""In place of a family's name, for chores."""

CHORES: Mapping[str, tuple[Sequence[str], Sequence[int]]] = {
    "drift": (("check_drift.py", "--or-nothing"), (0, 2)),
    "held_out": (("check_held_out.py",), (0,)),
    "retention": (("retention.py", "--json"), (0,)),
    "backup": (("backup.py", "run", "--json"), (0, NOT_PRUNED)),
    "report": (("weekly_report.py", "--json"), (0,)),
}
"""Commands of no family, and the exit statuses with which they are done: drift that was found is no failure."""

WEEKLY_CHORES = ("report",)
"""Those of a week; the others are each day's."""


@dataclass(frozen=True)
class Family:
    """A family, and where its data is where no load says.

    Attributes
    ----------
    data, held_out
        What it trains on, and rows to compare versions on; None: generated data, and no rows.
    rules, who
        Which version of the rules the run is to release, and who asked for that; None: it is a usual run.
    """

    name: str
    data: str | None = None
    held_out: str | None = None
    rules: int | None = None
    who: str = NAME


@dataclass(frozen=True)
class Call:
    """One command of a step.

    Attributes
    ----------
    step
        The row in which it is recorded.
    command
        Script and arguments; None where there is nothing to run.
    limit_s
        After so many seconds it is ended.
    passed
        Exit statuses after which the next step follows.
    """

    step: str
    command: Sequence[str] | None = None
    limit_s: float = HOUR_S
    passed: Sequence[int] = (0,)


def calls(
    name: str, run: str, family: Family, given: Mapping[str, Any], folder: str, training_limit_s: float
) -> list[Call]:
    """Return the commands of one step of a family's run.

    Parameters
    ----------
    name
        One of `SHOWN_WEEK`.
    run
        Its key, which ends with a date.
    given
        The results of the load and of the training.
    folder
        Where a load leaves its data.
    training_limit_s
        Of a training, retries included.
    """
    trained, held_out = given.get("trained", ()), family.held_out
    if name == "load":
        year, week, _ = datetime.date.fromisoformat(run[-10:]).isocalendar()  # the run's week, whenever it is made
        release = ["load_data.py", "release", "--family", family.name, "--week", f"{year}-W{week:02d}"]
        return [Call(name, [*release, "--out-dir", folder, "--json"], LOAD_LIMIT_S)]
    if name == "train":
        data = given.get("data", family.data)
        recorded = ["--data", str(data)] if data else []
        recorded += ["--rules", str(family.rules)] if family.rules is not None else []
        # Nothing to train on is no failure.
        return [Call(name, ["auto_train.py", "--family", family.name, *recorded], training_limit_s, (0, 3))]
    if name == "evaluate":
        if held_out is None:
            return []
        asked_about = [(f"evaluate {one['model']}"[:64], f"{one['model']}:{one['version']}") for one in trained]
        evaluation = ["evaluate_models.py", "--data", held_out, "--models"]
        return [Call(step, [*evaluation, version], EVALUATE_LIMIT_S) for step, version in asked_about]
    if name == "promote" and family.rules is not None:  # a person has decided that already
        asked = [["--model", one["model"], "--version", one["version"]] for one in trained]
        return [
            Call(f"promote {one[1]}"[:64], ["deploy_canary.py", *one, "--who", family.who, "--once"], PROMOTE_LIMIT_S)
            for one in asked
        ]
    if name == "promote":
        rows = ["--data", held_out] if held_out else []
        asked = [["--model", one["model"], "--version", one["version"]] for one in trained]
        promotions = [["auto_promote.py", *one, *rows, "--who", NAME] for one in asked]
        # Neither are kept and inconclusive.
        return [Call(f"promote {one[2]}"[:64], one, PROMOTE_LIMIT_S, (0, 3, 4)) for one in promotions]
    return [Call(LAST_STEP)]


def chores(settings: Settings) -> list[str]:
    """Return the names of the chores: a backup where there is a place for it, held-out rows where there are."""
    needed = {"backup": settings.backup_destination, "held_out": settings.ml_held_out}
    return [name for name in CHORES if needed.get(name, True)]


def chore(name: str) -> Call:
    """Return the command of one of the chores."""
    command, passed = CHORES[name]
    return Call(name, command, CHORE_LIMIT_S, passed)


def whole_training_s(settings: Settings) -> float:
    """Return after how many seconds a training step is ended: it attempts three trainings, with pauses between them."""
    return 4 * settings.ml_training_limit_s


def limit_s(name: str, training_limit_s: float) -> float:
    """Return after how many seconds a step is ended, of one model."""
    return training_limit_s if name == "train" else HOUR_S

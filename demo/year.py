"""A year of the weekly loop of a small catalogue: 52 weeks of loads, trainings and decisions by the real commands.

    python -m demo.year
    python -m demo.year --weeks 5 --rows 800 --held-out 300

Each week 3 % more products come: in one week with bad rows among them, in one with rows that were there before, in one
of another language and without descriptions. An alarm is raised then, which trains nothing until a person decides so.
In one week the machine is lost in the middle of a training (SIGKILL), and another one continues. The commands are those
of every week, run by a clock that is set; trainings, MLflow, database and ledger are real, in a folder that is removed.
At the end everything that was to happen is checked against what database, registry and ledger say. Exit status: 0 it
did, 1 it did not.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from archives.registry import Registry
from demo.year_audit import audit, story
from demo.year_machine import Machine, lose
from demo.year_plan import BOUND, FIRST_SHARE, Plan, monday
from marina.database.connection import Database
from marina.settings import read_settings

HOUR_S, DAY_S = 3600.0, 86_400.0
WIDTH = 150


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=52, help="how many, at least 5 (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=250, help="products of the first week (default: %(default)s)")
    parser.add_argument("--held-out", type=int, default=800, help="products kept aside (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the products (default: %(default)s)")
    options = parser.parse_args()
    if options.weeks < 5:
        parser.error("expected at least 5 weeks: four of them are special")
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    with tempfile.TemporaryDirectory(prefix="marina-year-", ignore_cleanup_errors=True) as folder:
        return run(Plan.make(options.weeks, options.rows, options.held_out, options.seed, Path(folder)), console)


def run(plan: Plan, console: Console) -> int:
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server of yours learns nothing of this
    state = plan.folder / "state"
    state.mkdir()
    own = {
        "state_dir": state, "archive_store": plan.folder / "store", "database_url": f"sqlite:///{state}/marina.db",
        "signers": "", "unsigned": "refuse", "load_first_share": FIRST_SHARE, "min_f1_threshold": BOUND,
        "notify_urls": "[]",
    }  # fmt: skip
    os.environ |= {f"MARINA_{name.upper()}": str(value) for name, value in own.items()}
    settings, began = read_settings(), time.monotonic()
    database = Database(settings.database)
    database.upgrade()
    machines = [Machine(plan.folder), Machine(plan.folder)]  # one of them will be lost
    try:
        for week in range(plan.weeks):
            started = time.monotonic()
            _week(plan, week, machines, database)
            console.print(f"{time.monotonic() - began:5.0f} s  week {week + 1:2}  {time.monotonic() - started:.1f} s")
    finally:
        for machine in machines:
            machine.stop()
    console.print(_table(plan, database))
    faults = 0
    for check in audit(plan, database, Registry(settings.state_dir)):
        faults += not check.holds
        console.print(f"{'ok' if check.holds else 'NOT'}  {check.what}: {check.found}", markup=False)
    database.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    console.print(
        f"{plan.weeks} weeks in {time.monotonic() - began:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU in the "
        f"commands); {faults or 'no'} checks failed"
    )
    return 1 if faults else 0


def _week(plan: Plan, week: int, machines: list[Machine], database: Database) -> None:
    """Let a week pass, on the first machine that is left."""
    due, machine = monday(week), machines[0]
    machine.ask(due - HOUR_S, "load", path=str(plan.file(week)))
    loop = {"held_out": str(plan.held_out), "daily": False}
    if plan.event(week) == "lost machine":
        lose(machines.pop(0), due, database, loop)
        machine = machines[0]
    machine.ask(due, "loop", **loop)
    machine.ask(due + HOUR_S, "serve")
    now = machine.ask(due + HOUR_S, "release")["now"]
    if plan.event(week) == "drift":
        alarm = machine.ask(max(now, due + DAY_S), "alarm", effect=0.9, what="description moved by 0.9")["alert"]
        machine.ask(max(now, due + 2 * DAY_S), "loop", **loop | {"daily": True})
        machine.ask(max(now, due + 3 * DAY_S), "decide", alert=alarm, action="retrain", why="a new shop's goods")
        machine.ask(max(now, due + 4 * DAY_S), "loop", **loop | {"daily": True})
        machine.ask(max(now, due + 4 * DAY_S) + HOUR_S, "release")


def _table(plan: Plan, database: Database) -> Table:
    """Return the year as database and ledger tell it."""
    table = Table(title=f"A year: {plan.weeks} weeks", title_justify="left")
    for name in (
        "week",
        "event",
        "rows",
        "visible",
        "moved",
        "reason",
        "version",
        "F1",
        "level",
        "p",
        "decision",
        "live",
    ):
        table.add_column(name)
    for row in story(plan, database):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())

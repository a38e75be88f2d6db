"""Run one step of the loop, unless it is done: what the orchestrator's assets start, and a person after a failure.

    python scripts/run_step.py --run "weekly 2026-11-30" --family catalog --steps load
    python scripts/run_step.py --run "weekly 2026-11-30" --family catalog --steps promote finish
    python scripts/run_step.py --run "daily 2026-11-30" --steps backup          # a chore, which is of no family
    python scripts/run_step.py --run "weekly 2026-11-30" --family catalog --steps train promote finish --again

A run's key is its schedule and the date on which it is due. The steps of a family are load, train, evaluate, promote
and finish, in this order; the chores are drift, held_out, retention and backup, of a week report. A step that is done
is not done again, whether scripts/loop.py or the orchestrator did it: only its result is printed. Of those that want to
act, one does; the others wait for it. With --again what failed is attempted at once, though it had failed for good:
what was wrong with it is repaired.

A decision that has to wait for a rollout's end is taken by the family's next run.

The last line is JSON: the steps' result, what waits, or in how many seconds a failed step may be attempted again. Exit
status: 0 done or waiting, 1 failed, 3 another one acts, 4 failed and not to be attempted again in this run.
"""

import argparse
import contextlib
import json
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from archives.errors import MarinaError
from marina.database.connection import AWAY
from marina.pipelines import step_list
from marina.pipelines.commands import ANOTHER_ACTS, NEVER
from marina.pipelines.loop import LeaseLostError, Loop, WaitingError
from marina.processes.console import show
from marina.releases.heads import open_database
from marina.settings import Settings, read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="run_step.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, metavar="KEY", help='such as "weekly 2026-11-30"')
    parser.add_argument("--family", default=step_list.ALL, help="of which family; none for a chore")
    parser.add_argument("--steps", nargs="+", required=True, choices=(*step_list.SHOWN_WEEK, *step_list.CHORES))
    parser.add_argument("--again", action="store_true", help="attempt what failed at once, however often it did")
    parser.add_argument("--wait-s", type=float, default=step_list.HOUR_S, help="for another one that acts")
    options = parser.parse_args(argv)
    if (options.family == step_list.ALL) != (options.steps[0] in step_list.CHORES):
        parser.error("expected a family, or chores alone")
    settings, stop = read_settings(), threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        database = open_database(settings, first=True)
        database.upgrade()
        loop = replace(Loop.of(settings, database, stop=stop.is_set), again=options.again)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    try:
        return _run(loop, settings, options, stop)
    finally:
        with contextlib.suppress(*AWAY), database.writing() as connection:
            loop.lease.give_back(connection)
        database.close()


def _run(loop: Loop, settings: Settings, options: argparse.Namespace, stop: threading.Event) -> int:
    ends = time.monotonic() + options.wait_s
    results: dict[str, Any] = {}
    name = options.family
    family = step_list.Family(name, settings.ml_training_data.get(name), settings.ml_held_out.get(name))
    for step in options.steps:
        chore = step in step_list.CHORES
        while True:
            try:
                if step == "promote" and not options.again:  # first what earlier runs trained
                    loop.decide_what_waits(family, (options.run,))
                result = loop.chore(options.run, step) if chore else loop.one(options.run, family, step)
                break
            except WaitingError as error:
                print(json.dumps({"waits": str(error)}))
                return 0
            except LeaseLostError as error:
                if stop.wait(1.0) or time.monotonic() > ends:
                    show(error, sys.stderr)
                    return ANOTHER_ACTS
        if result is None:
            due = loop.due(options.run, name, step)
            if due is None:
                show(f"{options.run} {name}: {step} is not attempted again in this run", sys.stderr)
                return NEVER
            print(json.dumps({"again_in_s": max(1.0, due - time.time())}))
            return 1
        results |= result
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

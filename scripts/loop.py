"""The loop without an orchestrator: each Monday load, train and decide; each day ask whether to train, and chores.

    python scripts/loop.py daemon                               # until Ctrl-C; every family
    python scripts/loop.py once --families catalog              # what is due now, and no more
    python scripts/loop.py asked                                # what people asked for in the console, and no more
    python scripts/loop.py once --families catalog --data catalog=all.csv --held-out catalog=kept_aside.csv

A run is due from its time on (MARINA_ML_TRAINING_SCHEDULE, MARINA_ML_DAILY_SCHEDULE, by the clocks of
MARINA_ML_TIME_ZONE), and done once for its date: one that was missed is made up for, one that was cut off continues
where it was. Each step is a command; one that fails stops what follows of its family, and is tried three times, unless
its data is bad. A family's models do not wait for one another. The day's chores are drift, held-out rows, retention and
backup; after the families' weeks the week's report is made, which names the decisions that still wait. A
training that a person asked for (an alert answered so, "retrain now", rules to be released) begins at the next look,
which is after ten seconds. Of loops that share a database one acts; where an orchestrator runs too
(scripts/orchestrator.py), each step is still done once. Exit status of `once` and `asked`: 0 all is done, 1 something
failed, 3 another loop acts.
"""

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache, partial

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import AWAY, Database
from marina.database.outage import Outage
from marina.database.tables import DECLARATIONS
from marina.pipelines.commands import ANOTHER_ACTS
from marina.pipelines.loop import LeaseLostError, Loop, UnknownFamilyError
from marina.pipelines.step_list import Family
from marina.processes.console import show
from marina.processes.guard import Guard
from marina.releases.heads import open_database
from marina.releases.lease import LEASE_S
from marina.rollout import archive_lookup
from marina.settings import Settings, read_settings
from training.family import families

LOOK_S = 10.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="loop.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("once", "asked", "daemon"))
    which = "which (default: those of MARINA_ML_FAMILIES, or all)"
    parser.add_argument("--families", nargs="+", choices=families(), help=which)
    for name, what in (("data", "what it trains on, where no load says"), ("held-out", "rows to compare versions on")):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="FAMILY=PATH", help=what)
    options = parser.parse_args(argv)
    settings, stop = read_settings(), threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        database = open_database(settings, first=True)
        database.upgrade()
        loop = _loop(settings, database, options, stop)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    try:
        return _forever(loop, stop) if options.mode == "daemon" else _once(loop, stop, options.mode == "asked")
    finally:
        with contextlib.suppress(*AWAY), database.writing() as connection:
            loop.lease.give_back(connection)
        database.close()


def _loop(settings: Settings, database: Database, options: argparse.Namespace, stop: threading.Event) -> Loop:
    data = {**settings.ml_training_data, **_paths(options.data)}
    held_out = {**settings.ml_held_out, **_paths(options.held_out)}
    names = options.families or settings.ml_families or families()
    if unknown := [name for name in names if name not in families()]:
        raise MarinaError(f"MARINA_ML_FAMILIES: {unknown[0]!r} is no family; training/ has {', '.join(families())}")
    chosen = [Family(name, data.get(name), held_out.get(name)) for name in names]
    loop = Loop.of(settings, database, chosen, daily=True, stop=stop.is_set)
    loop.family_of = partial(_family_of, database, lru_cache(partial(_named_by, settings)))
    return loop


def _family_of(database: Database, named_by: Callable[[str, str, str], str], model: str) -> str:
    """Return the family that the contract of a model's declared version names."""
    with database.reading() as connection:
        chosen = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model)
        row = connection.execute(chosen.order_by(DECLARATIONS.c.declared_at.desc()).limit(1)).first()
    if row is None:
        raise UnknownFamilyError(f"no version of {model} is declared, so nothing says what trains it")
    family = named_by(model, row.version, row.sha256)
    if family not in families():
        raise UnknownFamilyError(f"{model} is of family {family!r}, and training/ has {', '.join(families())}")
    return family


def _named_by(settings: Settings, model: str, version: str, sha256: str) -> str:
    return archive_lookup.opened(settings, model, version, sha256).contract.family


def _paths(given: list[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator or name not in families() or not path:
            raise MarinaError(f"{one!r}: expected FAMILY=PATH, such as catalog=all.csv")
        found[name] = path
    return found


def _once(loop: Loop, stop: threading.Event, asked: bool) -> int:
    ends = time.monotonic() + LEASE_S + 1
    while True:
        try:
            failed = loop.step(asked)
            break
        except LeaseLostError as error:
            if stop.wait(1.0) or time.monotonic() > ends:
                show(error, sys.stderr)
                return ANOTHER_ACTS
    for one in failed:
        show(f"{one}: failed", sys.stderr)
    return 1 if failed else 0


def _forever(loop: Loop, stop: threading.Event) -> int:
    guard, outage = Guard(loop.report), Outage(loop.report, "nothing is loaded or trained until then")
    while not stop.is_set():
        try:
            with guard.part("the loop", passing=(*AWAY, LeaseLostError)):
                loop.step()
            outage.end()
        except LeaseLostError:
            pass
        except AWAY as error:
            outage.begin(error)
        stop.wait(LOOK_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())

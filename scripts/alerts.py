"""Show alerts, and record what people decide about them.

    python scripts/alerts.py list                      # open ones; --all: those that ended too
    python scripts/alerts.py show 3
    python scripts/alerts.py acknowledge 3
    python scripts/alerts.py decide 3 --action roll_back --why "recall fell with the new camera"
    python scripts/alerts.py clear --why "load test of the 27th"     # decides `nothing` about every open warning

A decision is a row of the ledger: retrain, nothing, adjust (today's traffic is the new reference; of a rule, change its
threshold) or roll_back. It is recorded and not carried out; what carries it out is printed. A drift detector waits for
the decision about its alarm, and begins again after it.
"""

import argparse
import getpass
import shlex
import sys
import time

from rich.console import Console
from rich.table import Table

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.monitoring import alerts
from marina.monitoring.alerts import DECISIONS, LEVELS, Alert
from marina.processes.console import plain, show
from marina.releases.heads import open_database
from marina.settings import read_settings

NEXT = {
    "retrain": "The loop trains with its next daily run. At once: python scripts/auto_train.py --family FAMILY "
    "--data PATH --reason drift; then python scripts/auto_promote.py --model {model} --version VERSION --data HELD_OUT",
    "roll_back": "Roll back: python scripts/rollback.py --model {model} --reason {why}",
    "adjust": "The detector begins again, with the traffic since the change as its reference.",
    "nothing": "",
}
SHOWN = 50


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        database = open_database(read_settings(), first=True)
        database.upgrade()
        try:
            _COMMANDS[options.command](database, options)
        finally:
            database.close()
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


def _list(database: Database, options: argparse.Namespace) -> None:
    with database.reading() as connection:
        found = alerts.latest(connection, SHOWN, options.model) if options.all else alerts.open_alerts(connection)
    found = [one for one in found if options.model in (None, one.model)]
    if not found:
        show("no alert was ever raised" if options.all else "no open alert; --all shows those that ended")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "level", "state", "model", "alert", "since", "what"):
        table.add_column(heading, overflow="fold")
    for one in found:
        cells = (str(one.id), one.level, one.state, _of(one), one.name, _when(one.since), one.what)
        table.add_row(*map(plain, cells))
    Console(soft_wrap=not sys.stdout.isatty(), highlight=False, markup=False).print(table)


def _show(database: Database, options: argparse.Namespace) -> None:
    with database.reading() as connection:
        one, actions = alerts.read(connection, options.id)
    show(f"{one.id}  {one.name} ({one.kind}), {one.level}, {one.state}: {_of(one)}")
    show(f"  what      {one.what}")
    show(f"  since     {_when(one.since)}; opened {_when(one.opened_at)}, updated {_when(one.updated_at)}")
    if one.resolved_at is not None:
        show(f"  ended     {_when(one.resolved_at)}")
    show(f"  effect    {one.effect:.4g}; evidence {one.evidence:.4g} of {one.needed:.4g} needed")
    for name in ("harm", "link"):
        if text := getattr(one, name):
            show(f"  {name:<9} {text}")
    for action in actions:
        show(f"  {_when(action.time)}  {action.who}: {action.action}" + (f" ({action.note})" if action.note else ""))


def _decide(database: Database, options: argparse.Namespace) -> None:
    alerts.decide(database, options.id, options.who, options.action, options.why, time.time())
    with database.reading() as connection:
        one, _ = alerts.read(connection, options.id)
    show(f"alert {one.id} ({one.name}): {options.action}, decided by {options.who}")
    after = NEXT[options.action].format(model=one.model or "MODEL", why=shlex.quote(options.why))
    if one.kind == alerts.RULE and options.action == "adjust":
        after = "Change the threshold where it is set: docs/ALERTING_GUIDE.md names it."
    if after:
        show(after)


def _acknowledge(database: Database, options: argparse.Namespace) -> None:
    alerts.acknowledge(database, options.id, options.who, options.why, time.time())
    show(f"alert {options.id}: acknowledged by {options.who}")


def _clear(database: Database, options: argparse.Namespace) -> None:
    levels = LEVELS[: LEVELS.index(options.up_to) + 1]
    with database.reading() as connection:
        found = [one for one in alerts.open_alerts(connection) if one.level in levels and one.state != "decided"]
    for one in found:
        alerts.decide(database, one.id, options.who, "nothing", options.why, time.time())
        show(f"alert {one.id} ({one.name}): nothing, decided by {options.who}")
    show(f"{len(found)} alerts up to the level {options.up_to} are decided")


def _of(one: Alert) -> str:
    return f"{one.model} {one.version}".strip() or "server"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alerts.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    who = argparse.ArgumentParser(add_help=False)
    who.add_argument("--who", default=getpass.getuser(), help="who decides, for the ledger (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="open alerts")
    listing.add_argument("--all", action="store_true", help=f"the last {SHOWN}, those that ended too")
    listing.add_argument("--model", help="of one model only")
    showing = commands.add_parser("show", help="one alert, and what was done about it")
    showing.add_argument("id", type=int)
    seen = commands.add_parser("acknowledge", parents=[who], help="say that you have seen it")
    seen.add_argument("id", type=int)
    seen.add_argument("--why", default="", metavar="NOTE", help="a note")
    deciding = commands.add_parser("decide", parents=[who], help="say what is to be done about it")
    deciding.add_argument("id", type=int)
    deciding.add_argument("--action", required=True, choices=DECISIONS)
    deciding.add_argument("--why", required=True, help="for the ledger")
    clearing = commands.add_parser("clear", parents=[who], help="decide `nothing` about open alerts")
    clearing.add_argument("--why", required=True, help="for the ledger")
    clearing.add_argument("--up-to", choices=LEVELS, default="warning", help="most urgent level (default: %(default)s)")
    return parser


_COMMANDS = {"list": _list, "show": _show, "decide": _decide, "acknowledge": _acknowledge, "clear": _clear}


if __name__ == "__main__":
    sys.exit(main())

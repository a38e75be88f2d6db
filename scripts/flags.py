"""Show and change feature flags; each change is a row of the ledger.

    python scripts/flags.py list                                        # every flag; --for UNIT: its values for one
    python scripts/flags.py set ml_categorization 20% --why "hybrid for a fifth of the households"
    python scripts/flags.py set predictive_alerts off --why "too many on Sundays" --users user-17 user-18
    python scripts/flags.py history ml_categorization
    python scripts/flags.py guard ml_categorization --why "hybrid beside rules"     # 20 %, then on by the judge
    python scripts/flags.py status                                      # where guarded flags stand, and why
    python scripts/flags.py step                                        # judge guarded flags now, once

A share is in thousandths: on, off, 20%, 0.2. A guarded flag is rolled out step by step by the judge of versions, by
errors and by accuracy from feedback (marina/products/flags/guard.yaml; --policy names another), and is rolled back to
0 % by itself where it is worse. The products' process judges every 5 seconds; running processes follow within 5 s.
"""

import argparse
import getpass
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.processes.console import plain, show
from marina.products.flags import guard, table
from marina.products.flags.provider import Flags
from marina.products.flags.table import FlagError
from marina.releases.heads import open_database
from marina.rollout.policy.schema import read_policy
from marina.settings import read_settings

SHOWN = 50
WIDE = 200
SWITCH = {"on": 1.0, "off": 0.0}


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
    flags = Flags.of(database)
    with database.reading() as connection:
        found = table.read_flags(connection)
    rows = Table(box=None, pad_edge=False)
    heads = ["flag", "on for", *(["here", "reason"] if options.unit else []), "changed", "by", "why"]
    for heading in heads:
        rows.add_column(heading, overflow="fold")
    for flag in found.values():
        on = f"{100 * flag.share:g} %" + (f" and {len(flag.users)} named" if flag.users else "")
        on += f" (guard {flag.guard})" if flag.guard is not None else ""
        seen = flags.evaluate(flag.name, options.unit) if options.unit else None
        here = ["on" if seen.value else "off", seen.reason] if seen else []
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(flag.changed_at)) if flag.changed_at else "never"
        rows.add_row(*map(plain, [flag.name, on, *here, changed, flag.changed_by, flag.reason]))
    width = None if sys.stdout.isatty() else WIDE
    Console(width=width, highlight=False, markup=False).print(rows)


def _set(database: Database, options: argparse.Namespace) -> None:
    with database.writing(durable=True) as connection:
        before = table.read_flags(connection).get(options.flag)
        after = table.set_flag(
            connection,
            options.flag,
            options.who,
            options.why,
            time.time(),
            share=parse_share(options.share),
            users=options.users,
            new=options.new,
        )
    if after == before:
        show(f"{after.name} is so already: on for {100 * after.share:g} %")
        return
    named = f" and {len(after.users)} named units" if after.users else ""
    show(f"{after.name}: on for {100 * after.share:g} %{named}")


def _history(database: Database, options: argparse.Namespace) -> None:
    with database.reading() as connection:
        if options.flag is not None:
            table.read_flag(connection, options.flag)
        found = [entry for entry, _ in zip(table.history(connection, options.flag), range(SHOWN), strict=False)]
    for entry in found:
        show(table.describe(entry))
    if not found:
        show("never changed")


def _guard(database: Database, options: argparse.Namespace) -> None:
    policy = read_policy(options.policy)
    with database.writing(durable=True) as connection:
        one = guard.start(connection, options.flag, options.who, options.why, time.time(), policy)
    shares = ", ".join(f"{100 * step.share:g} %" for step in one.policy.steps)
    show(f"{one.flag}: guard {one.id}, on for {100 * one.share:g} % of {shares}")


def _status(database: Database, options: argparse.Namespace) -> None:
    now = time.time()
    with database.reading() as connection:
        found = guard.latest(connection, options.flag)
        said = [guard.judge(connection, one, now).verdict.reason if one.phase == guard.WATCHING else one.note
                for one in found]  # fmt: skip
    for one, words in zip(found, said, strict=True):
        where = f"step {one.step + 1} of {len(one.policy.steps)} ({100 * one.share:g} %)"
        show(f"{one.id}  {one.flag}: {one.phase}{f', {where}' if one.phase == guard.WATCHING else ''}; {words}")
    if not found:
        show("no flag was ever guarded")


def _step(database: Database, options: argparse.Namespace) -> None:
    if not guard.step(database, time.time(), show):
        show("nothing to do: scripts/flags.py status says what each waits for")


def parse_share(text: str | None) -> float | None:
    """Read ``on``, ``off``, ``20%`` or ``0.2``."""
    if text is None:
        return None
    try:
        return SWITCH[text] if text in SWITCH else float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise FlagError(f"share: expected on, off, 20% or 0.2, got {text!r}.") from None


_COMMANDS = {"list": _list, "set": _set, "history": _history, "guard": _guard, "status": _status, "step": _step}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flags.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="every flag, for whom it is on, and why")
    listed.add_argument("--for", dest="unit", default="", metavar="UNIT", help="also its value for this user")
    change = commands.add_parser("set", help="change a flag")
    change.add_argument("flag")
    change.add_argument("share", nargs="?", help="on, off, 20%% or 0.2; left out: as it is")
    change.add_argument("--users", nargs="*", metavar="UNIT", help="units for which it is on whatever the share")
    change.add_argument("--new", action="store_true", help="the flag may be one that there is not yet")
    past = commands.add_parser("history", help="the ledger's rows about a flag, or about all")
    past.add_argument("flag", nargs="?")
    guarded = commands.add_parser("guard", help="roll a flag out step by step, by the judge")
    guarded.add_argument("flag")
    guarded.add_argument("--policy", type=Path, default=guard.POLICY, help="default: %(default)s")
    for one in (change, guarded):
        one.add_argument("--why", required=True, help="the reason, for the ledger")
        one.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    stand = commands.add_parser("status", help="where guarded flags stand, and what they wait for")
    stand.add_argument("flag", nargs="?")
    commands.add_parser("step", help="judge guarded flags once; running beside the products' process is safe")
    return parser


if __name__ == "__main__":
    sys.exit(main())

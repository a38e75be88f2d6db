"""Look at rollouts and steer them by hand.

    python scripts/rollout.py status
    python scripts/rollout.py explain --model signflow
    python scripts/rollout.py pause --model signflow             # and resume, abort, approve
    python scripts/rollout.py shadow start --model signflow --version 2.0 --share 0.2
    python scripts/rollout.py shadow stop --model signflow
    python scripts/rollout.py replay                             # every stored verdict again, bit for bit
    python scripts/rollout.py simulate --model signflow --policy stricter.yaml
    python scripts/rollout.py ledger list --model signflow       # and verify
    python scripts/rollout.py ledger what-was-live --at 2026-03-01T12:00

Times are UTC. Exit status: 0, or 1 when something could not be done, or was found wrong.
"""

import argparse
import datetime
import getpass
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa

from archives.contract import ArchiveError
from archives.registry import RegistryError
from events.database import Database, DatabaseError
from events.tables import DECLARATIONS
from rollout import candidates, ledger, orders, replicas, rollouts, story, verdicts
from rollout.declaration import DeclarationError
from rollout.policy import PolicyError, read_policy
from rollout.rollouts import Rollout, RolloutError
from settings import Settings

Action = Callable[[argparse.Namespace, Settings, Database], int]


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit status."""
    options = _parser().parse_args(argv)
    settings = Settings()
    action: Action = options.action
    try:
        database = Database(settings.database)
        database.upgrade()
        return action(options, settings, database)
    except (ArchiveError, DatabaseError, DeclarationError, PolicyError, RegistryError, RolloutError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rollout.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--model", help="its open or latest rollout")
    one.add_argument("--rollout", type=int, metavar="N", help="a rollout by its number")
    by = argparse.ArgumentParser(add_help=False)
    by.add_argument("--model", required=True)
    by.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    by.add_argument("--reason", default="", help="for the ledger")

    commands.add_parser("status", help="what is live, and which rollouts are open").set_defaults(action=_status)
    commands.add_parser("explain", parents=[one], help="tell a rollout").set_defaults(action=_explain)
    again = commands.add_parser("replay", parents=[one], help="give stored verdicts again (default: all) and compare")
    again.set_defaults(action=_replay)
    simulate = commands.add_parser("simulate", parents=[one], help="judge a rollout's evidence by another policy")
    simulate.add_argument("--policy", type=Path, required=True)
    simulate.set_defaults(action=_simulate)
    for name, action, what in (
        ("pause", _pause, "let a rollout advance no further; it is still rolled back when it does harm"),
        ("resume", _resume, "let it advance again"),
        ("abort", _abort, "give all traffic back to the stable version and end the rollout"),
        ("approve", _approve, "agree that the canary may take all traffic"),
    ):
        commands.add_parser(name, parents=[by], help=what).set_defaults(action=action)

    shadow = commands.add_parser("shadow", help="let a version answer copies of requests, unseen by users")
    shadows = shadow.add_subparsers(required=True, metavar="COMMAND")
    start = shadows.add_parser("start", parents=[by], help="begin")
    start.add_argument("--version", required=True)
    start.add_argument("--share", type=_share, default=1.0, help="share of the requests (default: %(default)g)")
    start.add_argument("--archive", type=Path, help="its archive (default: the store's, else the registry's)")
    start.set_defaults(action=_start_shadow)
    shadows.add_parser("stop", parents=[by], help="end").set_defaults(action=_stop_shadow)

    book = commands.add_parser("ledger", help="every change of what is live")
    books = book.add_subparsers(required=True, metavar="COMMAND")
    rows = books.add_parser("list", help="print it")
    rows.add_argument("--model", help="only this one's")
    rows.set_defaults(action=_list)
    books.add_parser("verify", help="check each row's seal").set_defaults(action=_verify)
    live = books.add_parser("what-was-live", help="say which versions had which share of the traffic")
    live.add_argument("--at", type=_time, required=True, metavar="TIME", help="2026-03-01T12:00, or seconds since 1970")
    live.set_defaults(action=_what_was_live)
    return parser


def _status(_: argparse.Namespace, __: Settings, database: Database) -> int:
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS).order_by(DECLARATIONS.c.model, DECLARATIONS.c.version)).all()
        for row in rows:
            seen = replicas.read(connection, row.model)
            state = "; ".join([*seen.lacking(row.version), *seen.refusals(row.version)]) or "ready"
            print(f"{row.model} {row.version}: weight {row.weight:g}, {state}")
        for one in rollouts.open_rollouts(connection):
            print(story.heading(one) + (f": {one.note}" if one.note else ""))
    if not rows:
        print(f"nothing is declared in {database.engine.url.render_as_string(hide_password=True)}")
    return 0


def _explain(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        for line in story.tell(connection, _chosen(connection, options)):
            print(line)
    return 0


def _replay(options: argparse.Namespace, _: Settings, database: Database) -> int:
    total, wrong, others = 0, 0, 0
    with database.reading() as connection:
        chosen: Iterable[Rollout] = rollouts.all_rollouts(connection)
        if options.model or options.rollout:
            chosen = [_chosen(connection, options)]
        for one in chosen:
            again = verdicts.replay(connection, one)
            total, wrong, others = total + again.count, wrong + len(again.faults), others + again.by_another
            for fault in again.faults:
                print(f"{story.heading(one)}: {fault}")
    given = f"; {others} were given by another judge (this one is {verdicts.JUDGE})" if others else ""
    print(f"{total - wrong - others} of {total} verdicts come out the same, bit for bit{given}")
    return 1 if wrong else 0


def _simulate(options: argparse.Namespace, _: Settings, database: Database) -> int:
    policy = read_policy(options.policy)
    with database.reading() as connection:
        one = _chosen(connection, options)
        print(story.heading(one))
        for name, by in (("the policy it had", one.policy), (str(options.policy), policy)):
            found = verdicts.simulate(connection, one, by)
            if found is None:
                raise RolloutError(f"{one}: no verdict was recorded.")
            print(f"  by {name}: {found.reason}")
            print(f"    after {found.after_s:.0f} s and {found.requests:,} requests of the canary")
    return 0


def _pause(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = orders.pause(database, options.model, options.who, time.time())
    print(f"{one}: {one.note}; it is still rolled back when it does harm")
    return 0


def _resume(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = orders.resume(database, options.model, options.who, time.time())
    print(f"{one}: {one.note}")
    return 0


def _abort(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = orders.abort(database, options.model, options.who, options.reason, time.time())
    print(f"{one}: {one.phase} {one.note}")
    return 0


def _approve(options: argparse.Namespace, _: Settings, database: Database) -> int:
    missing = orders.approve(database, options.model, options.who, time.time())
    print(f"{options.model}: {options.who} agrees" + (f"; {missing} more to agree" if missing else ""))
    return 0


def _start_shadow(options: argparse.Namespace, settings: Settings, database: Database) -> int:
    candidate = candidates.find(settings, options.model, options.version, options.archive)
    with database.writing() as connection:
        one = rollouts.start(
            connection, candidate, read_policy(), options.who, time.time(),
            shadow=True, input_share=options.share, why=options.reason,
        )  # fmt: skip
    print(f"{story.heading(one)}; scripts/shadow_mode_report.py compares the answers")
    return 0


def _stop_shadow(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        one = rollouts.rollout_of(connection, options.model)
    if one is None or one.phase != "shadow":
        raise RolloutError(f"{options.model} has no shadow.")
    print(story.heading(orders.abort(database, options.model, options.who, options.reason, time.time())))
    return 0


def _list(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        for entry in ledger.entries(connection, options.model):
            why = json.loads(entry.details).get("why", "")
            print(f"{entry.seq:>5}  {story.clock(entry.time)}  {entry.hash[:12]}  {entry.model}: {entry.action} "
                  f"by {entry.who}; live: {story.shares(entry.weights)}" + (f"; {why}" if why else ""))  # fmt: skip
    return 0


def _verify(_: argparse.Namespace, __: Settings, database: Database) -> int:
    with database.reading() as connection:
        faults = ledger.verify(connection)
        head = next(ledger.entries(connection, newest_first=True), None)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{head.seq} rows, each as it was sealed; the last has {head.hash}" if head else "no rows")
    return 1 if faults else 0


def _what_was_live(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        found = ledger.live_at(connection, options.at)
    for model, weights in sorted(found.items()):
        print(f"{model}: {story.shares(weights)}")
    if not found:
        print(f"nothing was live at {story.clock(options.at)}")
    return 0


def _chosen(connection: sa.Connection, options: argparse.Namespace) -> Rollout:
    if not options.model and not options.rollout:
        raise RolloutError("Which one? Name it with --model, or by number with --rollout.")
    found = (
        rollouts.rollout(connection, options.rollout)
        if options.rollout
        else rollouts.last_rollout_of(connection, options.model)
    )
    if found is None:
        raise RolloutError(f"There was no rollout {options.rollout or 'of ' + options.model}.")
    return found


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 1, got {text!r}")
    return share


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-03-01T12:00, got {text!r}") from error
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()

"""Inspect rollouts and control them manually.

    python -m marina.rollout status
    python -m marina.rollout explain --model signflow           # --recompute: compare with today's judge
    python -m marina.rollout pause --model signflow             # and resume, abort, approve
    python -m marina.rollout shadow start --model signflow --version 2.0 --share 0.2
    python -m marina.rollout shadow stop --model signflow
    python -m marina.rollout replay                             # every stored verdict again, bit for bit
    python -m marina.rollout simulate --model signflow --policy stricter.yaml
    python -m marina.rollout ledger list --model signflow       # and verify, export
    python -m marina.rollout ledger what-was-live --at 2026-03-01T12:00

Times are UTC. Exit status: 0, or 1 when something could not be done, or a check failed.
"""

import argparse
import dataclasses
import datetime
import getpass
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from archives.registry import RegistryError
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.processes.console import show
from marina.releases import ledger, replica_status
from marina.releases.heads import Head, Heads, HeadsError, heads_file, ledger_keyring, open_database
from marina.rollout import archive_lookup, explain, operator_commands, rollouts, verdicts
from marina.rollout.audit import audit
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.policy.schema import read_policy
from marina.rollout.rollouts import Rollout, RolloutError
from marina.settings import Settings, read_settings

Action = Callable[[argparse.Namespace, Settings, Database], int]


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit status."""
    options = _parser().parse_args(argv)
    settings = read_settings()
    action: Action = options.action
    try:
        database = open_database(settings, first=True)
        database.upgrade()
        return action(options, settings, database)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m marina.rollout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--model", help="its open or latest rollout")
    one.add_argument("--rollout", type=int, metavar="N", help="a rollout by its number")
    by = argparse.ArgumentParser(add_help=False)
    by.add_argument("--model", required=True)
    by.add_argument(
        "--who", default=getpass.getuser(), help="who gives the command, for the ledger (default: %(default)s)"
    )
    by.add_argument("--reason", default="", help="for the ledger")

    commands.add_parser("status", help="what is live, and which rollouts are open").set_defaults(action=_status)
    explained = commands.add_parser("explain", parents=[one], help="print what happened in a rollout, and why")
    explained.add_argument("--recompute", action="store_true", help="compare the last verdict with today's judge")
    explained.set_defaults(action=_explain)
    again = commands.add_parser(
        "replay", parents=[one], help="compute stored verdicts again (default: all) and compare"
    )
    again.set_defaults(action=_replay)
    simulate = commands.add_parser("simulate", parents=[one], help="judge a rollout's evidence by another policy")
    simulate.add_argument("--policy", type=Path, required=True)
    simulate.set_defaults(action=_simulate)
    for name, action, what in (
        ("pause", _pause, "let a rollout advance no further; it is still rolled back when the evidence shows harm"),
        ("resume", _resume, "let it advance again"),
        ("abort", _abort, "give all traffic back to the stable version and end the rollout"),
        ("approve", _approve, "approve that the canary takes all traffic"),
    ):
        commands.add_parser(name, parents=[by], help=what).set_defaults(action=action)

    shadow = commands.add_parser("shadow", help="let a version answer copies of requests, unseen by users")
    shadows = shadow.add_subparsers(required=True, metavar="COMMAND")
    start = shadows.add_parser("start", parents=[by], help="start it")
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
    check = books.add_parser("verify", help="check hashes, signatures, what rows refer to, and heads noted elsewhere")
    check.add_argument(
        "--head", type=_head, action="append", default=[], metavar="ROW:HASH",
        help="a row's hash that you noted, or its first 12 digits at least (repeatable)",
    )  # fmt: skip
    check.set_defaults(action=_verify)
    whole = books.add_parser("export", help="print all of it, a row of JSON a line, for audits")
    whole.add_argument("--model", help="only this one's")
    whole.set_defaults(action=_export)
    live = books.add_parser("what-was-live", help="print which versions had which share of the traffic")
    live.add_argument("--at", type=_time, required=True, metavar="TIME", help="2026-03-01T12:00, or seconds since 1970")
    live.set_defaults(action=_what_was_live)
    return parser


def _status(_: argparse.Namespace, __: Settings, database: Database) -> int:
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS).order_by(DECLARATIONS.c.model, DECLARATIONS.c.version)).all()
        for row in rows:
            seen = replica_status.read(connection, row.model)
            state = "; ".join([*seen.list_missing_replicas(row.version), *seen.refusals(row.version)]) or "ready"
            show(f"{row.model} {row.version}: weight {row.weight:g}, {state}")
        for one in rollouts.open_rollouts(connection):
            last = rollouts.describe(one)
            show(explain.heading(one) + (f": {last}" if last else ""))
    if not rows:
        show(f"no version is desired in {database.engine.url.render_as_string(hide_password=True)}")
    return 0


def _explain(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        rollout = _find_rollout(connection, options)
        for line in explain.describe(connection, rollout):
            show(line)
        if options.recompute:
            for line in explain.recompute(connection, rollout):
                show(line)
    return 0


def _replay(options: argparse.Namespace, _: Settings, database: Database) -> int:
    total, wrong, others = 0, 0, 0
    with database.reading() as connection:
        chosen: Iterable[Rollout] = rollouts.all_rollouts(connection)
        if options.model or options.rollout:
            chosen = [_find_rollout(connection, options)]
        for one in chosen:
            again = verdicts.replay(connection, one)
            total, wrong, others = total + again.count, wrong + len(again.faults), others + again.by_another
            for fault in again.faults:
                show(f"{explain.heading(one)}: {fault}")
    given = f"; {others} were given by another judge (this one is {JUDGE_VERSION})" if others else ""
    show(f"{total - wrong - others} of {total} verdicts are reproduced, bit for bit{given}")
    return 1 if wrong else 0


def _simulate(options: argparse.Namespace, _: Settings, database: Database) -> int:
    policy = read_policy(options.policy)
    with database.reading() as connection:
        one = _find_rollout(connection, options)
        show(explain.heading(one))
        for name, by in (("the policy it had", one.policy), (str(options.policy), policy)):
            found = verdicts.simulate(connection, one, by)
            if found is None:
                raise RolloutError(f"{one}: no verdict was recorded.")
            show(f"  by {name}: {found.reason}")
            show(f"    after {found.after_s:.0f} s and {found.requests:,} requests of the canary")
    return 0


def _pause(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = operator_commands.pause(database, options.model, options.who, time.time())
    show(f"{one}: {one.note}; it is still rolled back when the evidence shows harm")
    return 0


def _resume(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = operator_commands.resume(database, options.model, options.who, time.time())
    show(f"{one}: {one.note}")
    return 0


def _abort(options: argparse.Namespace, _: Settings, database: Database) -> int:
    one = operator_commands.abort(database, options.model, options.who, options.reason, time.time())
    show(f"{one}: {one.phase} {one.note}")
    return 0


def _approve(options: argparse.Namespace, _: Settings, database: Database) -> int:
    missing = operator_commands.approve(database, options.model, options.who, time.time())
    show(f"{options.model}: {options.who} approves" + (f"; {missing} more approvals needed" if missing else ""))
    return 0


def _start_shadow(options: argparse.Namespace, settings: Settings, database: Database) -> int:
    candidate = archive_lookup.find(settings, options.model, options.version, options.archive)
    with database.writing(durable=True) as connection:
        one = rollouts.start(
            connection, candidate, read_policy(), options.who, time.time(),
            shadow=True, input_share=options.share, why=options.reason,
        )  # fmt: skip
    show(f"{explain.heading(one)}; scripts/shadow_mode_report.py compares the answers")
    return 0


def _stop_shadow(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        one = rollouts.rollout_of(connection, options.model)
    if one is None or one.phase != "shadow":
        raise RolloutError(f"{options.model} has no shadow.")
    show(explain.heading(operator_commands.abort(database, options.model, options.who, options.reason, time.time())))
    return 0


def _list(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        for entry in ledger.entries(connection, options.model):
            why = json.loads(entry.details).get("why", "")
            show(f"{entry.seq:>5}  {explain.clock(entry.time)}  {entry.hash[:12]}  {entry.model}: {entry.action} "
                  f"by {entry.who}; live: {explain.shares(entry.weights)}" + (f"; {why}" if why else ""))  # fmt: skip
    return 0


def _verify(options: argparse.Namespace, settings: Settings, database: Database) -> int:
    heads, faults = list(options.head), []
    try:
        heads += Heads(heads_file(settings)).read()
        if not heads_file(settings).exists():
            faults.append(f"{heads_file(settings)}, where heads are noted, is missing")
    except HeadsError as error:
        faults.append(str(error))
    entered = archive_lookup.registry(settings)
    try:
        heads += [Head(seq, digest, "MLflow") for seq, digest in entered.anchors()] if entered else []
    except RegistryError as error:
        show(f"not compared with what MLflow has noted: {error}")
    with database.reading() as connection:
        faults += audit(connection, ledger_keyring(settings), heads)
        last = next(ledger.entries(connection, newest_first=True), None)
        unsigned = sum(entry.signer is None for entry in ledger.entries(connection))
    for fault in faults:
        show(fault)
    if faults:
        return 1
    if last is None:
        show("no rows")
        return 0
    before = f" ({unsigned} of them from before rows were signed)" if unsigned else ""
    show(f"{last.seq} rows, all hashes and signatures valid{before}; the last has {last.hash}")
    for where in sorted({head.where for head in heads}):
        show(f"  as {where} has noted, up to row {max(head.seq for head in heads if head.where == where)}")
    return 0


def _export(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        for entry in ledger.entries(connection, options.model):
            print(json.dumps(dataclasses.asdict(entry), sort_keys=True))
    return 0


def _what_was_live(options: argparse.Namespace, _: Settings, database: Database) -> int:
    with database.reading() as connection:
        found = ledger.live_at(connection, options.at)
    for model, weights in sorted(found.items()):
        show(f"{model}: {explain.shares(weights)}")
    if not found:
        show(f"nothing was live at {explain.clock(options.at)}")
    return 0


def _find_rollout(connection: sa.Connection, options: argparse.Namespace) -> Rollout:
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


def _head(text: str) -> Head:
    seq, _, digest = text.partition(":")
    if not (seq.isdecimal() and re.fullmatch("[0-9a-f]{12,64}", digest)):
        raise argparse.ArgumentTypeError(f"expected a row and its hash, such as 17:3f2a9c01be44, got {text!r}")
    return Head(int(seq), digest, "--head")


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

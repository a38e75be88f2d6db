"""Decide whether a registered version is released: promote, keep or inconclusive.

    python scripts/auto_promote.py --model catalog --version 2.0 --data kept_aside.csv
    python scripts/auto_promote.py --model catalog --version 1.0        # the first: its threshold alone

Promoted is what is strictly above its threshold and errs less than production on the same held-out rows, by a paired
test at the level that is left for another look this year, and falls behind on no slice of them. It begins a canary
rollout by the policy. What is not better is kept in the registry; what is not shown to be better is inconclusive, and
about how many rows would show it is printed. Every decision is a row of the ledger, a line of decisions.jsonl among
the logs, a note on the version in MLflow, and a message. Asked again about the same archives and rows, it says the
same, and does nothing twice.

The last line is JSON. Exit status: 0 promoted, 3 kept, 4 inconclusive, 6 a rollout of the model is open (ask again
after its end), 1 nothing decided.
"""

import argparse
import dataclasses
import getpass
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from archives.archive import Archive
from archives.errors import MarinaError
from archives.registry import Registry
from marina.monitoring.channels import parse_channel
from marina.pipelines import commands
from marina.pipelines.automatic_promotion import AutomaticPromotion, Outcome, notify
from marina.processes.console import log, show
from marina.releases.heads import open_database
from marina.rollout import archive_lookup
from marina.rollout.policy.schema import read_policy
from marina.rollout.promotion import PromotionError, Rule
from marina.rollout.rollouts import RolloutOpenError
from marina.settings import Settings, read_settings
from training.data.reading.style import Style, add_style
from training.evaluation.held_out import RecordedRows
from training.evaluation.labelled import LabelledError
from training.family import rule_of

EXITS = {"promote": 0, "keep": 3, "inconclusive": 4}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="auto_promote.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True, help="a registered version, such as 2.0")
    parser.add_argument("--data", type=Path, metavar="PATH", help="held-out rows, which no training has seen")
    add_style(parser)
    parser.add_argument("--metric", help="that the threshold is of (default: the model's own)")
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--above", type=float, help="the threshold (default: the model's own)")
    limits.add_argument("--below", type=float, help="the threshold, of metrics of which less is better")
    parser.add_argument("--allow-quick", action="store_true", help="even if it was trained with --quick")
    parser.add_argument("--policy", type=Path, help="how it is rolled out (default: MARINA_ROLLOUT_POLICY's)")
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    options = parser.parse_args(argv)
    settings = read_settings()
    try:
        outcome = _decide(settings, options)
    except RolloutOpenError as error:
        show(error, sys.stderr)
        return commands.WAIT
    except (MarinaError, FileNotFoundError) as error:
        show(error, sys.stderr)
        return 1
    decision = outcome.decision
    show(f"{options.model} {options.version}: {decision.outcome}: {decision.reason}")
    if decision.outcome == "promote" and outcome.rollout is None:
        begun = decision.details.get("begun")
        show("python scripts/serve.py serves it from now on" if begun else "MARINA_AUTO_PROMOTION_ENABLED is false")
    said = {"model": options.model, "version": options.version, "outcome": decision.outcome, "why": decision.reason}
    figures = {name: value for name, value in decision.details.items() if name not in ("live", "why")}
    print(json.dumps({**figures, **said, "rollout": outcome.rollout, "again": outcome.again}))
    return EXITS[decision.outcome]


def _decide(settings: Settings, options: argparse.Namespace) -> Outcome:
    policy, candidate = read_policy(options.policy or settings.rollout_policy), _candidate(settings, options)
    rule = _rule(settings, options, candidate)
    channels = [parse_channel(url.get_secret_value()) for url in settings.notify_urls]
    database = open_database(settings, first=True)
    try:
        database.upgrade()
        tell = partial(notify, channels, lambda line: log(line, sys.stderr))
        promotion = AutomaticPromotion(database, settings, options.who, tell)
        try:
            console = Console(soft_wrap=True, highlight=False, markup=False, stderr=True)
            rows = RecordedRows(options.data, Style.of(options), console, candidate) if options.data else None
        except LabelledError as error:  # nothing to compare by, so what is better is not shown to be
            show(error, sys.stderr)
            rows = None
        return promotion.decide(options.model, options.version, rule, policy, rows)
    finally:
        database.close()


def _rule(settings: Settings, options: argparse.Namespace, candidate: Archive) -> Rule:
    usual = rule_of(candidate.contract.family, options.model)
    usual = usual or Rule(settings.promotion_metric, settings.min_f1_threshold)
    asked = dataclasses.replace(usual, metric=options.metric or usual.metric, quick=options.allow_quick)
    if options.above is not None:
        return dataclasses.replace(asked, bound=options.above, less_is_better=False)
    if options.below is not None:
        return dataclasses.replace(asked, bound=options.below, less_is_better=True)
    return asked


def _candidate(settings: Settings, options: argparse.Namespace) -> Archive:
    registered = Registry(settings.state_dir).find(options.model, options.version)
    if registered is None:
        raise PromotionError(f"{options.model} {options.version} is not registered: scripts/train.py registers.")
    return archive_lookup.opened(settings, options.model, options.version, registered.sha256)


if __name__ == "__main__":
    sys.exit(main())

"""Check, measure or export the rules that categorise French bank labels; `--rules FILE` reads others.

    python scripts/budget_rules.py check                             # mistakes by line, shadows and conflicts
    python scripts/budget_rules.py check --rules mine.yaml
    python scripts/budget_rules.py report --users 40 --seed 7        # coverage and precision on generated accounts
    python scripts/budget_rules.py report --data transactions.csv    # ... on your own: label, amount, date, category
    python scripts/budget_rules.py export --to rules.json            # .json or .yaml; what was exported reads back

Exit status: 0 if all is well, 1 if rules are wrong, shadowed or in conflict, 2 if a file cannot be read.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from models.budget.labels import parsed
from models.budget.rules import RuleSet
from training.budget import user_tables
from training.budget.categorizer.rules import FILE, RulesError, read, to_json, to_yaml
from training.budget.categorizer.rules_report import measure, problems
from training.budget.synthetic.accounts import CATEGORIES, Synthesis, generate
from training.data import quality
from training.data.reading.reader import TableReader
from training.data.reading.style import Style, add_style


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="check|report|export")
    rules = argparse.ArgumentParser(add_help=False)
    rules.add_argument("--rules", type=Path, default=FILE, help="a YAML or JSON file (default: the project's)")
    commands.add_parser("check", parents=[rules], help="report what is wrong with the rules")
    report = commands.add_parser("report", parents=[rules], help="measure coverage and precision, rule by rule")
    report.add_argument("--data", type=Path, help="a bank's export with a column of categories")
    add_style(report)
    report.add_argument("--users", type=int, default=40, help="generated households (default: %(default)s)")
    report.add_argument("--seed", type=int, default=0, help="of the generated households (default: %(default)s)")
    export = commands.add_parser("export", parents=[rules], help="write the rules to another file")
    export.add_argument("--to", type=Path, required=True, metavar="FILE", help="ends in .json, .yaml or .yml")
    arguments = parser.parse_args(argv)
    try:
        # Own rules may name own categories; the project's are held to those the model knows.
        found = read(arguments.rules, CATEGORIES if arguments.rules == FILE else ())
        if arguments.command == "check":
            return _check(found)
        if arguments.command == "report":
            return _report(found, arguments)
        return _export(found, arguments.to)
    except RulesError as error:
        print(error)
        return 1
    except (OSError, KeyError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _check(rules: RuleSet) -> int:
    found = problems(rules)
    for problem in found:
        print(problem)
    categories = len({rule.category for rule in rules.rules})
    print(f"{len(rules.rules)} rules for {categories} categories, {len(found)} problems")
    return 1 if found else 0


def _report(rules: RuleSet, arguments: argparse.Namespace) -> int:
    frame = _transactions(arguments)
    print(measure(rules, frame).markdown())
    labels, amounts = frame["label"].tolist(), frame["amount"].to_numpy()
    days = frame["date"].to_numpy().astype("datetime64[D]")
    compiled = RuleSet(rules.rules)  # one that has seen no label yet
    began = time.perf_counter()
    compiled.fire(parsed(labels), amounts, days)
    print(f"\n{(time.perf_counter() - began) / len(labels) * 1e6:.1f} µs a transaction, {len(labels)} at once")
    return 0


def _transactions(arguments: argparse.Namespace) -> pd.DataFrame:
    if arguments.data is None:
        return generate(Synthesis(users=arguments.users, months=12, seed=arguments.seed))
    path: Path = arguments.data
    frame, faults = user_tables.read(path, reader=TableReader(Style.of(arguments)))
    known = frame[frame["category"] != ""].reset_index(drop=True)
    if known.empty:
        raise ValueError(f"{path}: expected rows with a category to compare the rules with, got none")
    if faults:
        print(quality.report(faults), file=sys.stderr)
    return known


def _export(rules: RuleSet, to: Path) -> int:
    writers = {".json": to_json, ".yaml": to_yaml, ".yml": to_yaml}
    if to.suffix not in writers:
        raise ValueError(f"{to}: expected a name that ends in .json, .yaml or .yml")
    to.write_text(writers[to.suffix](rules), encoding="utf-8")
    print(f"{len(rules.rules)} rules in {to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Go or no-go for a phase of the household budget: each criterion, its figure, where it came from, pass or fail.

    python scripts/go_no_go.py --phase 2a                # rules and cache
    python scripts/go_no_go.py --phase 2b --days 7       # models and A/B test, by the last week's log and feedback
    python scripts/go_no_go.py --phase 2c --json
    python scripts/go_no_go.py --phase 2a --metrics http://127.0.0.1:8081/metrics

Figures come from the log and feedback of the last days, the served archives' evaluation, and /metrics of the server
that runs here (or --metrics URL or FILE; only a URL of this machine is sent the token for management). A figure that
is missing is `no data`, which is no pass. Exit status: 0 if every criterion passes, 1 if not, 2 if the figures cannot
be read.
"""

import argparse
import json
import sys
import time

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import open_for_report
from marina.pipelines import figures
from marina.pipelines.go_no_go import PHASES, Criterion, Evidence, decide
from marina.processes.console import show
from marina.settings import read_settings

DAY_S = 86_400.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="go_no_go.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase", required=True, choices=PHASES, help="which phase may begin")
    parser.add_argument("--days", type=float, default=30.0, help="of the log and of feedback (default: %(default)g)")
    parser.add_argument("--metrics", default="", metavar="URL|FILE", help="metrics to read in place of this server's")
    parser.add_argument("--json", action="store_true", help="print the decision as JSON")
    options = parser.parse_args(argv)
    settings, now = read_settings(), time.time()
    try:
        database = open_for_report(settings.database)
        samples = figures.read_metrics(settings, options.metrics)
        with database.reading() as connection:
            found = decide(options.phase, Evidence(settings, connection, samples, now - options.days * DAY_S, now))
        database.close()
    except (MarinaError, OSError, sa.exc.SQLAlchemyError) as error:
        show(error, sys.stderr)
        return 2
    go = all(one.verdict == "pass" for one in found)
    if options.json:
        print(json.dumps({"phase": options.phase, "go": go, "criteria": [one.to_dict() for one in found]}))
        return 0 if go else 1
    print(f"phase {options.phase}: {PHASES[options.phase]}, by the last {options.days:g} days\n")
    for one in found:
        print(f"{one.verdict:8} {one.row:4} {one.name}: {_shown(one, one.figure.value)} {_bar(one)}")
        print(f"              {one.figure.source}")
    missing = sum(one.verdict == "no data" for one in found)
    failed = sum(one.verdict == "fail" for one in found)
    print(f"\n{'GO' if go else 'NO GO'}: {len(found) - missing - failed} pass, {failed} fail, {missing} without data")
    return 0 if go else 1


def _shown(one: Criterion, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if one.unit == "share" else f"{value:,.4g} {one.unit}"


def _bar(one: Criterion) -> str:
    return f"(needs {one.relation} {_shown(one, one.bar)})"


if __name__ == "__main__":
    sys.exit(main())

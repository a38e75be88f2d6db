"""Show how far traffic has drifted from what each model was evaluated on, and change what counts as drift.

Example
-------
    python scripts/check_drift.py                                   # every model that has traffic
    python scripts/check_drift.py --model catalog --window 30d --html drift.html
    python scripts/check_drift.py --model catalog --set tolerance=0.02 --why "weekends differ"

What can be set: budget, tolerance, warning, alert, critical; without --model for all models. docs/MONITORING.md says
what they mean. Ends with 2 where detectors have found drift about which no one has decided.
"""

import argparse
import getpass
import re
import sys
import time
from pathlib import Path

from rich.console import Console

from archives.errors import MarinaError
from marina.database.connection import Database, open_for_report
from marina.monitoring import detector_rows, drift_page, drift_reports, drift_view, observations, watch_settings
from marina.monitoring.live_versions import Live, LiveVersions, NotLiveError
from marina.monitoring.watch_settings import WatchSettingsError
from marina.processes.console import show
from marina.processes.report_page import write
from marina.releases.heads import open_database
from marina.settings import Settings, read_settings

UNITS = {"h": 1 / 24, "d": 1.0, "w": 7.0}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="which one (default: all that have traffic)")
    parser.add_argument("--window", type=_days, metavar="7d", help="hours, days or weeks (default: 7d, and 30d beside)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with pictures; needs --model")
    parser.add_argument("--or-nothing", action="store_true", help="where no model has traffic yet, that is no failure")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change what counts as drift")
    parser.add_argument("--why", default="", help="the reason for a change, kept in the ledger")
    options = parser.parse_args(argv)
    if options.html and not options.model:
        parser.error("--html needs --model")
    settings = read_settings()
    try:
        database = open_for_report(settings.database)
        if options.set:
            return _set(settings, options)
        return _check(settings, database, options)
    except MarinaError as error:
        show(error, sys.stderr)
        return 0 if options.or_nothing and isinstance(error, NotLiveError) else 1


def _check(settings: Settings, database: Database, options: argparse.Namespace) -> int:
    now, console = time.time(), Console()
    days = (options.window,) if options.window else drift_reports.WINDOWS_DAYS
    detected = False
    versions = LiveVersions(settings)
    with database.reading() as connection:
        for one in versions.choose(connection, now, options.model):
            version = one.version
            watched = detector_rows.read(connection, version.model, version.version, version.sha256, version.watchlist)
            made = drift_reports.report(connection, version, one.held_out, watched, now, days)
            detected |= made.detected
            console.print(drift_view.render(made))
            console.print()
            if options.html:
                names = tuple(version.watchlist.reference.summary)
                since = now - made.windows[0].days * drift_reports.DAY_S
                requests = observations.between(connection, version.model, version.version, names, since, now)
                target = _target(options.html, one, options)
                write(target, drift_page.render(made, version.watchlist, requests))
                show(f"written: {target}")
                options.written = True
    for name, why in versions.unreadable.items():
        show(f"{name} is not shown: {why}", sys.stderr)
    return 2 if detected else 0


def _target(path: Path, one: Live, options: argparse.Namespace) -> Path:
    """Return the file of the first version; those of others beside it have their version in their name."""
    return path.with_stem(f"{path.stem}-{one.version.version}") if getattr(options, "written", False) else path


def _set(settings: Settings, options: argparse.Namespace) -> int:
    values = {}
    for text in options.set:
        name, _, value = text.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            raise WatchSettingsError(f"--set {text}: expected NAME=VALUE, such as tolerance=0.02") from None
    model = options.model or watch_settings.EVERY
    database = open_database(settings)
    after = watch_settings.change(database, settings, model, values, getpass.getuser(), options.why, time.time())
    database.close()
    show(f"{options.model or 'all models'}: {after}")
    return 0


def _days(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number with h, d or w, such as 7d")
    return float(found[1]) * UNITS[found[2]]


if __name__ == "__main__":
    sys.exit(main())

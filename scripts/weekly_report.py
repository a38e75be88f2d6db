"""The week's report, as a page (HTML) and as Markdown: cost, storage, data quality, volume, confidence, availability.

    python scripts/weekly_report.py                              # to .marina/reports/weekly-2026-W48.html and .md
    python scripts/weekly_report.py --out /srv/reports/this-week # .html and .md are appended
    python scripts/weekly_report.py --metrics http://127.0.0.1:8081/metrics

It is of the seven days before now, or before --until (2026-11-30). Figures come from the database, the archives, the
registry's folder, and /metrics of the server that runs here; what has no data says so. Prices are settings
(MARINA_PRICE_CPU_HOUR, _GPU_HOUR, _GB_MONTH). It prints the files' names; with --json the last line is the result. The
loop makes it each week after its decisions (scripts/loop.py, scripts/orchestrator.py). Of .marina/reports the newest
--keep weeks stay, and the one just made.
"""

import argparse
import datetime
import json
import re
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import open_for_report
from marina.pipelines import figures
from marina.pipelines.weekly_report import WEEK_S, make_report
from marina.processes import report_page
from marina.processes.console import show
from marina.settings import read_settings

WEEKS_KEPT = 105
"""Two years, and the week that begins."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="weekly_report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="name of the two files without their ends")
    parser.add_argument("--until", type=datetime.date.fromisoformat, help="the day after the week's last")
    parser.add_argument("--metrics", default="", metavar="URL|FILE", help="metrics to read in place of this server's")
    parser.add_argument("--keep", type=int, default=WEEKS_KEPT, help="weeks of reports (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the files' names as JSON")
    options = parser.parse_args(argv)
    if options.keep < 1:
        parser.error("expected to keep at least 1 week")
    settings = read_settings()
    now = datetime.datetime.combine(options.until, datetime.time()).timestamp() if options.until else time.time()
    first, last = (datetime.datetime.fromtimestamp(moment) for moment in (now - WEEK_S, now))
    year, week, _ = first.isocalendar()
    out = options.out or settings.state_dir / "reports" / f"weekly-{year}-W{week:02d}"
    try:
        database = open_for_report(settings.database)
        samples = figures.read_metrics(settings, options.metrics)
        with database.reading() as connection:
            report = make_report(settings, connection, samples, now, f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
        database.close()
        if options.out is None:
            out.parent.mkdir(parents=True, exist_ok=True)
        files = []
        for end, text in ((".html", report.to_html()), (".md", report.to_markdown())):
            path = out.with_name(out.name + end)
            report_page.write(path, text)
            files.append(str(path))
            print(path)
        if options.out is None:
            forget_all_but(out.parent, options.keep, out.name)
        if options.json:
            print(json.dumps({"files": files}))
    except (MarinaError, OSError, sa.exc.SQLAlchemyError) as error:
        show(error, sys.stderr)
        return 1
    return 0


def forget_all_but(folder: Path, weeks: int, asked: str) -> None:
    """Delete a folder's reports of all but its newest weeks and the one that was asked for; other files stay."""
    made: dict[str, list[Path]] = {}
    for path in folder.glob("weekly-*"):
        if re.fullmatch(r"weekly-\d{4}-W\d\d\.(html|md)", path.name):
            made.setdefault(path.stem, []).append(path)
    for week in sorted(made)[:-weeks]:
        for path in made[week] if week != asked else ():
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())

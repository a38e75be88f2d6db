"""The week of an installation: what it cost, what it kept, how good data and answers were, and whether it was there."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import sqlalchemy as sa

from archives.archive import Archive, open_archive
from archives.contract import ArchiveError
from archives.store import shelf
from marina.database.backup_tables import BACKUPS
from marina.database.loop_tables import TRAININGS
from marina.database.tables import PREDICTIONS
from marina.events.version_counts import SLO
from marina.pipelines import figures
from marina.pipelines.backup.contents import registry_file
from marina.pipelines.data_quality import read_quality
from marina.pipelines.feature_importance import importances, moved, stability
from marina.pipelines.figures import Figure, Samples
from marina.pipelines.week_decisions import WAITS, read_decisions
from marina.processes import report_page
from marina.settings import Settings

WEEK_S, HOUR_S = 7 * 86_400.0, 3600.0
WEEKS = 4
"""Weeks before this one that volume is compared with."""

GB = 1e9
OF_NOW = "as it was when this report was made, whatever week it is of"
QUALITIES = ("score", "validity", "uniqueness", "completeness", "freshness")


@dataclass
class Section:
    """A table of the report: its heading, a line on what it shows, and rows of text; the first column names them."""

    title: str
    about: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)


@dataclass
class Report:
    """The whole: its title, the line under it, figures that stand out (name, value, remark), and tables."""

    title: str
    under: str
    tiles: list[tuple[str, str, str]]
    sections: list[Section]

    def to_html(self) -> str:
        """Write it as one page."""
        parts = [report_page.tiles(self.tiles)]
        for one in self.sections:
            parts += [report_page.heading(one.title), report_page.paragraph(one.about)]
            parts.append(report_page.table(one.head, one.rows) if one.rows else report_page.paragraph("No data."))
        return report_page.page(self.title, self.under, parts)

    def to_markdown(self) -> str:
        """Write it as Markdown."""
        lines = [f"# {self.title}", "", self.under, ""]
        lines += [f"- **{name}**: {value} ({remark})" for name, value, remark in self.tiles]
        for one in self.sections:
            lines += ["", f"## {one.title}", "", one.about, ""]
            if not one.rows:
                lines.append("No data.")
                continue
            lines += [f"| {' | '.join(one.head)} |", "|" + "---|" * len(one.head)]
            lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in one.rows]
        return "\n".join(lines) + "\n"


def make_report(settings: Settings, connection: sa.Connection, samples: Samples, now: float, zone: str) -> Report:
    """Compute the report of the seven days before `now` (seconds since 1970).

    Parameters
    ----------
    samples
        Of /metrics, for caches, processors and what users found; may be empty.
    zone
        The two days it is of, as text.
    """
    low = now - WEEK_S
    counts = figures.requests_of(connection, low, now)
    available = figures.availability(counts)
    qualities = read_quality(connection, now)
    decisions = read_decisions(connection, low, now)
    waiting = [one for one in decisions if one.outcome == WAITS]
    hits = figures.ratio(samples, "marina_answer_cache_total", "outcome", "hit")
    score = Figure(fmean(one.score for one in qualities) if qualities else None, "mean of the families' scores")
    tiles = [
        ("Availability", _share(available), f"objective {SLO:.1%}; {available.source}"),
        ("Data quality", _share(score), score.source if qualities else "no rows were imported"),
        ("Cache hits", _share(hits), hits.source),
        ("Decisions waiting", f"{len(waiting)}", ", ".join(one.what for one in waiting) or "all are made"),
        ("Backup", *_backup(connection, now)),
    ]
    sections = [
        Section(
            "Decisions",
            f"What the loop decided or could not, by run; what {WAITS} is asked again until it is decided: {OF_NOW}.",
            ("what", "run", "outcome", "why"),
            [(one.what, one.run, one.outcome, one.why) for one in decisions],
        ),
        _cost(settings, connection, low, now),
        _processors(settings, samples),
        _storage(settings, connection),
        Section(
            "Data quality",
            f"The score is the mean of the four shares; docs/OPERATIONS.md defines them. All rows: {OF_NOW}.",
            ("family", *QUALITIES, "rows", "visible"),
            [
                (
                    one.family,
                    *(f"{getattr(one, name):.3f}" for name in QUALITIES),
                    f"{one.rows:,}",
                    f"{one.visible:,}",
                )
                for one in qualities
            ],
        ),
        _volume(connection, now),
        _confidence(connection, low, now),
        _importance(settings),
        _kpis(connection, samples, low, now, available),
    ]  # fmt: skip
    return Report("Marina: weekly report", zone, tiles, sections)


def _share(one: Figure) -> str:
    return "-" if one.value is None else f"{one.value:.2%}"


def _backup(connection: sa.Connection, now: float) -> tuple[str, str]:
    done = sa.select(BACKUPS.c.ended_at, BACKUPS.c.note).where(BACKUPS.c.state == "done", BACKUPS.c.ended_at <= now)
    last = connection.execute(done.order_by(BACKUPS.c.ended_at.desc()).limit(1)).first()
    if last is None:
        return "none", "python scripts/backup.py run"
    return f"{(now - last.ended_at) / HOUR_S:.0f} h ago", last.note.partition(":")[0] or "the last"


def _cost(settings: Settings, connection: sa.Connection, low: float, now: float) -> Section:
    """Put together what training and answers took, by family."""
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    trained, where = training_seconds(settings, connection, low, now)
    for family, took in trained.items():
        seconds[family]["training"] += took
    for family, took in gpu_seconds(settings, low, now).items():
        seconds[family]["gpu"] += took
    given = PREDICTIONS.c
    asked = sa.select(given.model, sa.func.sum(given.serving_ms).label("ms"), sa.func.count().label("answers"))
    for one in connection.execute(asked.where(given.time >= low, given.time < now).group_by(given.model)):
        mine = seconds[_family(connection, settings, one.model)]
        mine["inference"] += (one.ms or 0.0) / 1000 / settings.log_share if settings.log_share else 0.0
        mine["answers"] += one.answers
    price, of_gpus = settings.price_cpu_hour, settings.price_gpu_hour
    rows = []
    for family, mine in sorted(seconds.items()):
        total = ((mine["training"] + mine["inference"]) * price + mine["gpu"] * of_gpus) / HOUR_S
        rows.append(
            (family, f"{mine['training']:,.0f}", f"{mine['gpu']:,.0f}", f"{mine['inference']:,.1f}",
             f"{mine['answers']:,.0f}", f"{total:,.2f}" if price or of_gpus else "-")
        )  # fmt: skip
    about = (
        f"Training: seconds, by {where}. Inference: seconds that workers took, by the log "
        f"(share kept: {settings.log_share:g}). Cost: hours at MARINA_PRICE_CPU_HOUR"
        + (f" = {price:g}" if price else ", which is not set")
        + "; GPU: seconds of each GPU that a run in MLflow used, besides, at MARINA_PRICE_GPU_HOUR"
        + (f" = {of_gpus:g}." if of_gpus else ", which is not set.")
    )
    return Section(
        "Cost by family", about, ("family", "training s", "GPU s", "inference s", "answers logged", "cost"), rows
    )


def training_seconds(
    settings: Settings, connection: sa.Connection, low: float, high: float
) -> tuple[dict[str, float], str]:
    """Return how long trainings that began from `low` to `high` took, by family, in seconds, and where that is from.

    MLflow's local database knows every run; where a server has it, the table of automatic trainings does.
    """
    runs = _runs(settings, low, high)
    if runs is not None:
        return {family: took for family, took, _ in runs}, "the runs in MLflow"
    row = TRAININGS.c
    asked = sa.select(TRAININGS).where(row.started_at >= low, row.started_at < high, row.ended_at.is_not(None))
    found: dict[str, float] = defaultdict(float)
    for one in connection.execute(asked):
        found[one.family] += one.ended_at - one.started_at
    return found, "automatic trainings (table trainings)"


def gpu_seconds(settings: Settings, low: float, high: float) -> dict[str, float]:
    """Return how many seconds of GPUs runs that began from `low` to `high` used, by family, as MLflow knows them."""
    return {family: used for family, _, used in _runs(settings, low, high) or () if used}


def _runs(settings: Settings, low: float, high: float) -> list[tuple[str, float, float]] | None:
    """Return family, seconds and GPU seconds of the runs in MLflow's local database, trials apart; None without one."""
    file = registry_file(settings)
    if file is None or not file.is_file():
        return None
    text = (
        "SELECT e.name, sum(r.end_time - r.start_time) / 1000.0, total(CAST(g.value AS REAL)) "
        "FROM runs r JOIN experiments e USING (experiment_id) "
        "LEFT JOIN tags g ON g.run_uuid = r.run_uuid AND g.key = 'gpu_seconds' "
        "WHERE r.start_time >= ? AND r.start_time < ? AND r.end_time IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM tags t WHERE "
        "t.run_uuid = r.run_uuid AND t.key = 'mlflow.parentRunId') GROUP BY e.name"
    )
    opened = contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True))
    with contextlib.suppress(sqlite3.Error), opened as runs:
        return runs.execute(text, (low * 1000, high * 1000)).fetchall()
    return None


def _family(connection: sa.Connection, settings: Settings, model: str) -> str:
    """Return the family of a model: what its archive's contract says, else its own name."""
    archive = figures.served_archive(settings, connection, model)
    return archive.contract.family if archive is not None else model


def _processors(settings: Settings, samples: Samples) -> Section:
    """Show what the server's parts and GPUs used since they started."""
    rows: list[Sequence[str]] = []
    for name, labels, value in samples:
        if name == "marina_process_cpu_seconds_total":
            price = settings.price_cpu_hour
            rows.append((labels.get("part", ""), f"{value:,.0f}", f"{value / HOUR_S * price:,.2f}" if price else "-"))
    about = (
        "Processor seconds of the running server's parts since each started, by /metrics; GPUs' share of use below: "
        f"{OF_NOW}."
    )
    for name, labels, value in samples:
        if name == "marina_gpu_utilisation_ratio":
            price = settings.price_gpu_hour
            rows.append(
                (f"GPU {labels.get('gpu', '')}, in use {value:.0%}", "", f"{price:g} an hour" if price else "-")
            )
    return Section("Processors", about, ("part", "CPU s", "cost"), rows)


def _storage(settings: Settings, connection: sa.Connection) -> Section:
    registry = registry_file(settings)
    places = {
        "archives (store)": settings.archive_store,
        "archives (serving)": settings.state_dir / "declared",
        "registry's artifacts": settings.state_dir / "mlflow",
        "logs": settings.log_dir,
        "spool": settings.spool_dir,
        **({"registry's database": registry} if registry is not None else {}),
    }
    sizes = {name: _size(path) for name, path in places.items()}
    if connection.dialect.name == "sqlite":
        sizes["database"] = _size(Path(str(connection.engine.url.database)))
    else:
        sizes["database"] = int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
    price = settings.price_gb_month
    rows = [
        (name, f"{size / 1e6:,.1f}", f"{size / GB * price:,.3f}" if price else "-")
        for name, size in sorted(sizes.items())
    ]
    total = sum(sizes.values())
    rows.append(("all", f"{total / 1e6:,.1f}", f"{total / GB * price:,.3f}" if price else "-"))
    return Section(
        "Storage",
        f"What lies where, and what it costs a month (MARINA_PRICE_GB_MONTH): {OF_NOW}.",
        ("what", "MB", "cost"),
        [*rows],
    )


def _size(path: Path) -> int:
    total = 0
    for one in [path] if path.is_file() else path.rglob("*"):
        with contextlib.suppress(OSError):
            total += one.stat().st_size if one.is_file() else 0
    return total


def _volume(connection: sa.Connection, now: float) -> Section:
    weeks = [figures.volume(connection, now - (back + 1) * WEEK_S, now - back * WEEK_S) for back in range(WEEKS + 1)]
    rows = []
    for model in sorted(set().union(*weeks)):
        this, *before = [week.get(model, 0) for week in weeks]
        usual = [count for count in before if count]
        change = f"{this / fmean(usual) - 1:+.0%}" if usual else "no week before"
        rows.append((model, f"{this:,}", *(f"{count:,}" for count in before), change))
    head = ("model", "this week", *(f"{back} before" for back in range(1, WEEKS + 1)), "against their mean")
    return Section("Requests", f"Against the {WEEKS} weeks before that had any.", head, [*rows])


def _confidence(connection: sa.Connection, low: float, now: float) -> Section:
    given = PREDICTIONS.c

    def mean(since: float, until: float) -> dict[tuple[str, str], tuple[float, int]]:
        asked = sa.select(given.model, given.version, sa.func.avg(given.confidence), sa.func.count(given.confidence))
        asked = asked.where(given.time >= since, given.time < until, given.confidence.is_not(None))
        found = connection.execute(asked.group_by(given.model, given.version))
        return {(model, version): (float(value), count) for model, version, value, count in found}

    this, last = mean(low, now), mean(low - WEEK_S, low)
    rows = [
        (
            f"{model} {version}",
            f"{value:.3f}",
            f"{count:,}",
            f"{last[model, version][0]:.3f}" if (model, version) in last else "-",
        )
        for (model, version), (value, count) in sorted(this.items())
    ]
    return Section(
        "Mean confidence",
        "Of the logged answers that have one.",
        ("version", "mean", "answers", "week before"),
        [*rows],
    )


def _importance(settings: Settings) -> Section:
    by_model: dict[str, list[Path]] = defaultdict(list)
    for one in shelf(settings.archive_store)[0] if settings.archive_store.is_dir() else ():
        by_model[one.model].append(one.path)
    rows: list[Sequence[str]] = []
    for model, paths in sorted(by_model.items()):
        archives = list(_opened(paths[-2:]))
        known = [importances(one) for one in archives]
        if len(archives) < 2:
            rows.append((model, "-", "the store has one version", ""))
        elif not all(known):
            rows.append((model, "-", "its archives state no importance of features", ""))
        else:
            found = stability(*known)
            versions = " and ".join(one.contract.version for one in archives)
            shown = "-" if found is None else f"{found:.3f}"
            rows.append((model, shown, f"rank correlation of {versions}", ", ".join(moved(known[0], known[1]))))
    about = (
        "Rank correlation of features' importance between the two newest versions in the store, where both state it: "
        f"{OF_NOW}."
    )
    return Section("Stability of feature importance", about, ("model", "stability", "of", "moved most (rank)"), rows)


def _opened(paths: Iterable[Path]) -> Iterator[Archive]:
    for path in paths:
        with contextlib.suppress(ArchiveError, OSError):
            yield open_archive(path)


def _kpis(connection: sa.Connection, samples: Samples, low: float, now: float, available: Figure) -> Section:
    """Show what the budget product promised (B15)."""
    forecast = figures.live_quality(connection, "budget_forecast", "mape", low, 1, now)
    wrong = figures.live_quality(connection, "budget_anomaly", "false_positive_rate", low, 1, now)
    relevant = figures.ratio(samples, "marina_recommendations_judged", "relevant", "yes")
    clients = sa.select(sa.func.count(PREDICTIONS.c.client.distinct())).where(
        PREDICTIONS.c.model.startswith("budget_"), PREDICTIONS.c.time >= low, PREDICTIONS.c.time < now
    )
    users = int(connection.execute(clients).scalar_one())
    adoption = Figure(
        float(users) if users else None, "log, sessions or users with an answer of a budget model this week"
    )
    rows = [
        ("availability", _share(available), f"at least {SLO:.1%}", available.source),
        ("error of forecasts (MAPE)", _share(forecast), "below 20 %", forecast.source),
        ("usual transactions reported", _share(wrong), "below 5 %", wrong.source),
        ("recommendations found relevant", _share(relevant), "as many as may be", relevant.source),
        ("adoption", "-" if adoption.value is None else f"{adoption.value:,.0f}", "more each week", adoption.source),
    ]
    return Section(
        "Key figures of the household budget",
        f"By users' feedback alone; recommendations: {OF_NOW}.",
        ("what", "figure", "wanted", "from"),
        [*rows],
    )

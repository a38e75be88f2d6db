"""Reports of drift: the last 7 and 30 days of each version, daily and after every 1,000 answers; they never alarm."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DRIFT_REPORTS
from marina.monitoring import held_out_checks, observations, performance
from marina.monitoring.detector_rows import Watched
from marina.monitoring.drift_watch import Version
from marina.monitoring.effects import kolmogorov_samples
from marina.monitoring.held_out_checks import HeldOutCheck
from marina.monitoring.performance import Performance
from marina.monitoring.power import detectable
from marina.monitoring.window_figures import WindowFigures, figures_of

DAY_S = 86_400.0
WINDOWS_DAYS = (7.0, 30.0)
EVERY_DAYS, LONGEST_DAYS = 2, 400
"""How long every report is kept, and how long each day's last."""
RECENT = 1_000
"""The last so many answers, whose confidence is compared with the reference."""


@dataclass(frozen=True)
class Window:
    """A stretch of days before a report."""

    days: float
    answers: int
    figures: WindowFigures
    performance: Performance


@dataclass(frozen=True)
class Detectable:
    """The smallest share that a day of today's traffic would have shown to be drift, of one stream."""

    about: str
    share: float
    detectable: float


@dataclass(frozen=True)
class DriftReport:
    """Everything that is known about drift of one version at a time.

    Attributes
    ----------
    windows
        The shortest first.
    held_out, held_out_check
        Accuracy on held-out data at release, and on held-out rows of today; None where that is not known.
    recent_confidence
        Kolmogorov-Smirnov distance and p-value of the last answers' confidence; None without any.
    detectable
        What today's traffic could have shown, of some streams.
    watched
        Where its detectors stand; None where they have not begun.
    batches_missing
        How many batches they need until they can say anything about requests.
    level
        Of the largest effect in the shortest window, where the detectors have evidence; else None.
    """

    model: str
    version: str
    created_at: float
    windows: tuple[Window, ...]
    held_out: float | None
    held_out_check: HeldOutCheck | None
    recent_confidence: tuple[float, float] | None
    detectable: tuple[Detectable, ...]
    watched: Watched | None
    moved: tuple[str, ...]
    level: str | None

    @property
    def detected(self) -> bool:
        """Whether detectors found drift, about which no one has decided yet."""
        return bool(self.moved)

    @property
    def batches_missing(self) -> int | None:
        """How many batches the detectors need before they can say anything; None where they have not begun."""
        return None if self.watched is None else self.watched.batches_missing

    @property
    def harm(self) -> str:
        """Measured where labels came, else estimated."""
        first, check = self.windows[0], self.held_out_check
        asked = f"; {check.describe(self.held_out)}" if check else ""
        if first.performance.lost is not None:
            return first.performance.harm + asked
        return f"{first.figures.estimated_harm}; {first.performance.harm}{asked}"

    @property
    def performance_effect(self) -> float | None:
        """The share of right answers lost, by labels or by held-out rows, whichever shows more; None for neither."""
        return _lost(self.windows[0].performance, self.held_out_check, self.held_out)


def report(
    connection: sa.Connection,
    one: Version,
    held_out: float | None,
    watched: Watched | None,
    now: float,
    days: tuple[float, ...] = WINDOWS_DAYS,
) -> DriftReport:
    """Compute a report from the prediction log.

    Parameters
    ----------
    held_out
        The version's accuracy on held-out data.
    watched
        Where its detectors stand.
    days
        Lengths of the windows.
    """
    names = tuple(one.watchlist.reference.summary)
    windows = []
    for length in days:
        since = now - length * DAY_S
        requests = observations.between(connection, one.model, one.version, names, since, now)
        answers = observations.count_answers(connection, one.model, one.version, since, now)
        figures = figures_of(one.watchlist, requests)
        place = (one.model, one.version, since, now, answers, held_out, figures.grouping)
        windows.append(Window(length, answers, figures, performance.measure(connection, *place)))
    confidence = None
    reference = one.watchlist.reference.confidence
    if reference is not None and len(reference):
        recent = observations.latest(connection, one.model, one.version, names, RECENT)
        confidence = kolmogorov_samples(reference, recent.confidence)
    moved = tuple(stream.about for stream in watched.moved_of(one.watchlist)) if watched else ()
    first = windows[0]
    check = held_out_checks.newest(connection, one.model, one.version, now)
    lost = _lost(first.performance, check, held_out)
    effects = (first.figures.data_effect, first.figures.prediction_effect, lost)
    largest = max((effect for effect in effects if effect is not None), default=0.0)
    level = (one.settings.level(largest) or "warning") if moved else None
    today = observations.count_answers(connection, one.model, one.version, now - DAY_S, now)
    return DriftReport(
        one.model,
        one.version,
        now,
        tuple(windows),
        held_out,
        check,
        confidence,
        tuple(_detectable(one, watched, today)),
        watched,
        moved,
        level,
    )


def _lost(labelled: Performance, check: HeldOutCheck | None, held_out: float | None) -> float | None:
    effects = (labelled.effect, check.effect(held_out) if check else None)
    return max((one for one in effects if one is not None), default=None)


def store(connection: sa.Connection, made: DriftReport) -> int:
    """Keep a report; return its number."""
    first = made.windows[0]
    row = {
        "report_date": time.strftime("%Y-%m-%d", time.localtime(made.created_at)),
        "model": made.model,
        "version": made.version,
        "data_drift_score": first.figures.data_effect,
        "prediction_drift_score": first.figures.prediction_effect,
        "performance_drift_score": made.performance_effect,
        "drift_detected": made.detected,
        "details": json.dumps(details(made), ensure_ascii=False, allow_nan=False),
        "created_at": made.created_at,
    }
    return int(connection.execute(sa.insert(DRIFT_REPORTS).returning(DRIFT_REPORTS.c.id), row).scalar_one())


def details(made: DriftReport) -> dict[str, Any]:
    """Return everything in a report as JSON values."""
    watched = made.watched
    return {
        "windows": [
            {
                "days": window.days,
                "answers": window.answers,
                **_plain(window.figures),
                "performance": {
                    **_plain(window.performance),
                    "lost": window.performance.lost,
                    "harm": window.performance.harm,
                },
            }
            for window in made.windows
        ],
        "held_out_check": _plain(made.held_out_check) if made.held_out_check else None,
        "recent_confidence": made.recent_confidence,
        "detectable": [_plain(one) for one in made.detectable],
        "batches_missing": made.batches_missing,
        "evidence": watched.evidence if watched and math.isfinite(watched.evidence) else None,
        "needed": watched.needed if watched else None,
        "moved": list(made.moved),
        "level": made.level,
        "harm": made.harm,
    }


def last_report_at(connection: sa.Connection, model: str, version: str) -> float | None:
    """Return when the last report about a version was made; None for never."""
    mine = (DRIFT_REPORTS.c.model == model, DRIFT_REPORTS.c.version == version)
    return connection.execute(sa.select(sa.func.max(DRIFT_REPORTS.c.created_at)).where(*mine)).scalar()


def due(last: float | None, now: float, hour: int, answers_since: int, requests: int) -> bool:
    """Say whether a report is due: the hour has struck since the last one, or so many answers came.

    Parameters
    ----------
    last
        When the last one was made; None for never.
    hour
        Local hour of the daily report.
    answers_since, requests
        Answers since the last one, and after how many another is due, every ten minutes at most.
    """
    if last is None or (answers_since >= requests and now - last >= 600):
        return answers_since > 0
    local = time.localtime(now)
    struck = time.mktime((local.tm_year, local.tm_mon, local.tm_mday, hour, 0, 0, 0, 0, -1))
    if struck > now:
        struck -= DAY_S
    return last < struck


def store_if_due(
    database: Database,
    one: Version,
    held_out: float | None,
    watched: Watched | None,
    now: float,
    hour: int,
    requests: int,
) -> int | None:
    """Make a report where one is due; return its number, or None."""
    with database.reading() as connection:
        last = last_report_at(connection, one.model, one.version)
        since = observations.count_answers(connection, one.model, one.version, last or 0.0, now)
        if not due(last, now, hour, since, requests):
            return None
        made = report(connection, one, held_out, watched, now)
    with database.writing() as connection:
        thin(connection, one.model, one.version, now)
        return store(connection, made)


def thin(connection: sa.Connection, model: str, version: str, now: float) -> int:
    """Delete the reports of past days but for each day's last, and those from long ago; return how many."""
    mine = (DRIFT_REPORTS.c.model == model, DRIFT_REPORTS.c.version == version)
    lasts = sa.select(sa.func.max(DRIFT_REPORTS.c.id)).where(*mine).group_by(DRIFT_REPORTS.c.report_date)
    kept = [row[0] for row in connection.execute(lasts)]
    past = sa.and_(DRIFT_REPORTS.c.created_at < now - EVERY_DAYS * DAY_S, DRIFT_REPORTS.c.id.not_in(kept))
    old = DRIFT_REPORTS.c.created_at < now - LONGEST_DAYS * DAY_S
    return connection.execute(sa.delete(DRIFT_REPORTS).where(*mine, sa.or_(past, old))).rowcount


def _detectable(one: Version, watched: Watched | None, today: int) -> list[Detectable]:
    """Return what a day like today would have shown, of each label and each kind of stream."""
    limits = one.watchlist.limits(one.settings.tolerance, watched.baseline if watched else None)
    count, found, kinds = len(limits), [], set()
    dispersion = watched.detector.dispersion.estimate() if watched else None
    for place, stream in enumerate(one.watchlist.streams):
        if stream.kind in kinds and stream.kind != "label":
            continue
        kinds.add(stream.kind)
        times = float(dispersion[place]) if dispersion is not None and math.isfinite(dispersion[place]) else 1.0
        share = detectable(float(limits[place]), today, count, one.settings.budget, times)
        found.append(Detectable(stream.about, stream.share, share))
    return found


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values; NaN are None."""

    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: plain(part) for name, part in one.items()}
        if isinstance(one, (list, tuple)):
            return [plain(part) for part in one]
        if isinstance(one, float) and not math.isfinite(one):
            return None
        return one

    return dict(plain(dataclasses.asdict(value)))

"""Takes what a version answered batch by batch; what its detectors find becomes an alert, and waits for a person.

What batches did to the detectors, and how far they were read, is one row (`marina.monitoring.detector_rows`), written
at once, and only over the one that was read: wherever the process is killed, no batch is taken twice and none is left
out. An alarm is in that row too; the alert is opened after it, and opening it again changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import ALERT_ACTIONS
from marina.monitoring import detector_rows, e_detector, observations
from marina.monitoring.alerts import Finding, open_alert, undecided
from marina.monitoring.detector_rows import Watched
from marina.monitoring.e_detector import Batch
from marina.monitoring.streams import AS_PREDICTIONS, Stream, Watchlist
from marina.monitoring.watch_settings import WatchSettings
from marina.monitoring.window_figures import WindowFigures, figures_of
from marina.releases.lease import Lease

SETTLE_S = 30.0
"""Answers of the last seconds are left alone: those of other servers may still be on their way."""

MOST_BATCHES = 16
"""In one transaction, when there is much to catch up with."""

QUIET = -4.0
"""Evidence below which a stream is as it ever was."""

KIND = "drift"
ACCEPTED = "adjust"
"""The decision by which today's traffic becomes what later traffic is held against."""


@dataclass(frozen=True)
class Version:
    """A version that has traffic, with what is watched of it and by which limits."""

    model: str
    version: str
    sha256: str
    since: float
    watchlist: Watchlist
    settings: WatchSettings


class DriftWatch:
    """Takes batches, and waits after an alarm.

    Parameters
    ----------
    database
        The prediction log, and where detectors are kept.
    lease
        Who may act, as long as this process does; None for one that is alone.
    size
        Answers of a batch.
    """

    def __init__(self, database: Database, lease: Lease | None = None, size: int = 256) -> None:
        self._database = database
        self._lease = lease
        self._size = size

    def step(self, one: Version, now: float) -> int:
        """Take the batches of a version that are complete, some at a time; return how many.

        Parameters
        ----------
        now
            Seconds since 1970.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `marina.database.connection.AWAY` when the database is unavailable: nothing is lost, call it again.
        """
        with self._database.reading() as connection:
            before = detector_rows.position(connection, one.model, one.version)
            watched = self._read(connection, one)
            fresh = not watched.batches and before is None
            taken = 0 if watched.alarmed_at is not None else self._take(connection, one, watched, now - SETTLE_S)
        if (taken or fresh) and not self._save(one, watched, before):
            return 0
        if watched.alarmed_at is not None:
            self._await_decision(one, watched, now)
        return taken

    def _save(self, one: Version, watched: Watched, before: tuple[object, ...] | None) -> bool:
        """Write what was taken, in a short transaction, if no one else has written since it was read."""
        with self._database.writing() as connection:
            if self._lease and not self._lease.held(connection):
                return False
            if detector_rows.position(connection, one.model, one.version) != before:
                return False
            detector_rows.save(self._database, connection, watched)
        return True

    def _read(self, connection: sa.Connection, one: Version) -> Watched:
        kept = detector_rows.read(connection, one.model, one.version, one.sha256, one.watchlist)
        return kept or Watched.start(one.model, one.version, one.sha256, one.watchlist, one.since)

    def _take(self, connection: sa.Connection, one: Version, watched: Watched, until: float) -> int:
        names = tuple(one.watchlist.reference.summary)
        for taken in range(MOST_BATCHES):
            if watched.alarmed_at is not None:
                return taken
            found = observations.next_batch(
                connection, one.model, one.version, watched.cursor, names, self._size, until
            )
            if found is None:
                return taken
            take_batch(watched, one, found)
        return MOST_BATCHES

    def _await_decision(self, one: Version, watched: Watched, now: float) -> None:
        """Open the alert of an alarm if that was not done yet; begin again once a person has decided."""
        if watched.alert is None:
            with self._database.reading() as connection:
                before = detector_rows.position(connection, one.model, one.version)
                finding = find(connection, one, watched)
            self._save(one, replace(watched, alert=open_alert(self._database, finding, now)), before)
            return
        with self._database.reading() as connection:
            before = detector_rows.position(connection, one.model, one.version)
            if any(alert.id == watched.alert for alert in undecided(connection, one.model)):
                return
            baseline = watched.baseline
            if self._decision(connection, watched.alert) == ACCEPTED:
                baseline = self._since_the_change(connection, one, watched, now)
        count = len(one.watchlist.streams)
        again = replace(
            watched,
            detector=replace(watched.detector, state=e_detector.start((count,))),
            quiet_since=np.full(count, now - SETTLE_S),
            cursor=observations.Cursor(max(now - SETTLE_S, watched.cursor.time)),
            baseline=baseline,
            evidence=-math.inf,
            moved=[],
            alarmed_at=None,
            alert=None,
        )
        self._save(one, again, before)

    def _since_the_change(self, connection: sa.Connection, one: Version, watched: Watched, now: float) -> Batch:
        """Return what came since the last stream moved; rows of one client count as one."""
        moved = [place for place, stream in enumerate(one.watchlist.streams) if stream.name in set(watched.moved)]
        names, since = tuple(one.watchlist.reference.summary), float(watched.quiet_since[moved].max())
        recent = observations.between(connection, one.model, one.version, names, since, now - SETTLE_S)
        seen = one.watchlist.observe(recent)
        return replace(seen, count=seen.count / recent.grouping)

    def _decision(self, connection: sa.Connection, alert: int) -> str:
        last = sa.select(ALERT_ACTIONS.c.action).where(ALERT_ACTIONS.c.alert == alert)
        return connection.execute(last.order_by(ALERT_ACTIONS.c.id.desc()).limit(1)).scalar() or ""


def take_batch(watched: Watched, one: Version, found: observations.Taken) -> None:
    """Let the detectors see one batch."""
    detector, requests = watched.detector, found.requests
    detector.limit = one.watchlist.limits(one.settings.tolerance, watched.baseline)
    grouping = requests.grouping
    usual = watched.grouping or grouping
    elapsed_s = found.cursor.time - max(watched.cursor.time, found.start - observations.HOUR_S)
    evidence = detector.step(one.watchlist.observe(requests), elapsed_s, grouping / usual)
    watched.grouping = usual + (grouping - usual) / min(watched.batches + 1, 100)
    watched.batches += 1
    watched.requests += len(requests)
    watched.cursor = found.cursor
    watched.quiet_since = np.where(evidence < QUIET, found.cursor.time, watched.quiet_since)
    watched.evidence = float(evidence.max())
    watched.needed = e_detector.needed(len(one.watchlist.streams), one.settings.budget)
    moved = e_detector.moved_streams(evidence, one.settings.budget)
    if moved.any():
        order = np.argsort(-evidence, kind="stable")
        watched.moved = [one.watchlist.streams[place].name for place in order if moved[place]]
        watched.alarmed_at = found.cursor.time


def find(connection: sa.Connection, one: Version, watched: Watched) -> Finding:
    """Say what has moved, since when, and how far."""
    streams = {stream.name: (place, stream) for place, stream in enumerate(one.watchlist.streams)}
    moved = [streams[name] for name in watched.moved]
    since = float(min(watched.quiet_since[place] for place, _ in moved))
    names = tuple(one.watchlist.reference.summary)
    until = math.nextafter(watched.cursor.time, math.inf)
    requests = observations.between(connection, one.model, one.version, names, since, until)
    seen = one.watchlist.observe(requests)
    figures = figures_of(one.watchlist, requests)
    effect = effect_of(figures, [stream for _, stream in moved], float(seen.mean[moved[0][0]]))
    parts = [
        f"{stream.about}: {100 * seen.mean[place]:.1f} %, {100 * stream.share:.1f} % in the reference"
        for place, stream in moved[:3]
    ]
    more = f"; and {len(moved) - 3} more" if len(moved) > 3 else ""
    return Finding(
        model=one.model,
        version=one.version,
        kind=KIND,
        name=part_of(moved[0][1]),
        level=one.settings.level(effect) or "warning",
        what=f"{one.model} {one.version}: {'; '.join(parts)}{more}",
        since=since,
        effect=effect,
        evidence=watched.evidence,
        needed=watched.needed,
        harm=figures.estimated_harm,
        link=f"python scripts/check_drift.py --model {one.model}",
    )


def part_of(stream: Stream) -> str:
    """Return what a stream is drift of: ``data``, ``predictions`` or ``errors``."""
    if stream.kind == "errors":
        return "errors"
    return "predictions" if stream.kind in AS_PREDICTIONS else "data"


def effect_of(figures: WindowFigures, moved: Sequence[Stream], strongest: float) -> float:
    """Return the largest effect of what has moved: PSI beyond chance, or a difference of means where there are no bins.

    Parameters
    ----------
    strongest
        The mean of the strongest stream.
    """
    by_name = {one.name: one.effect for one in figures.quantities}
    found = [by_name.get(stream.of, 0.0) for stream in moved if stream.kind in ("feature", "missing")]
    found += [figures.labels.effect for stream in moved if stream.kind == "label" and figures.labels]
    if moved[0].kind not in ("feature", "label"):
        found.append(abs(strongest - moved[0].share))
    return max(found, default=0.0)

"""What releases are judged by, for Prometheus: the text of /metrics.

Counters only grow: what is deleted for its age is not taken back. Where they stood is kept in the database once a
minute, so they continue when the server starts again, and what came meanwhile is counted then. They begin at 0 with a
server that has kept nothing, and again where the clock was set back by minutes.
They are of all servers that share the database, so one of those is to be scraped, whichever.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import LEDGER, ROLLOUTS, VERDICTS
from marina.events import metric_totals
from marina.events.access_log import WINDOW_S
from marina.events.exposition import Row, write_family
from marina.events.label_counts import SIGNS, LabelCounts, write_label_counts
from marina.events.labels import count_early
from marina.events.offsets import dropped, unknown, warned
from marina.events.quality import QualityWindow
from marina.events.version_counts import Counts, Version, count, merge, write_latencies
from marina.processes.console import log
from marina.processes.guard import Guard

LATE_S = 300.0
"""Lines and labels that come later than this are no longer counted here; the judge counts them."""

SAVE_S = 60.0
"""How often it is kept where counters stand."""

MOST_SOURCES = 50
"""Sources of labels that are counted each; further ones together, as those of no name."""

Collect = Callable[[sa.Connection, float], Iterable[list[str]]]
"""Writes further metrics: families of lines, from the database as it is now (seconds since 1970)."""


class Metrics:
    """Writes the metrics again and again; keeps what can no longer change much, and looks only at what is newer.

    Parameters
    ----------
    since
        Where the counters begin, in seconds since 1970.
    more
        What else is written after these.
    """

    def __init__(self, since: float, more: Iterable[Collect] = ()) -> None:
        self._settled: dict[Version, Counts] = {}
        self._until = since // WINDOW_S * WINDOW_S
        self._by_label = LabelCounts(since)
        self._feedback: Counter[tuple[str, str]] = Counter()
        self._sources: set[str] = set()
        self._saved_at = since
        self._more = tuple(more)
        self._guard = Guard(lambda text: log(f"metrics: {text}", sys.stderr))
        self._quality = QualityWindow()

    def count_feedback(self, source: str, outcomes: Iterable[str]) -> None:
        """Count outcomes of labels that came to this server."""
        if source not in self._sources:
            if len(self._sources) >= MOST_SOURCES:
                source = ""
            self._sources.add(source)
        self._feedback.update((source, outcome) for outcome in outcomes)

    def restore(self, connection: sa.Connection, replica: str) -> None:
        """Continue from where a server's counters stood when they were last kept."""
        found = metric_totals.load(connection, replica)
        if found is None:
            return
        until, totals = found
        try:
            settled = {(model, version): Counts.from_json(one) for model, version, one in totals["versions"]}
            feedback = {(source, outcome): int(n) for source, outcome, n in totals["feedback"]}
            self._by_label.restore(totals["labels"])
        except (KeyError, TypeError, ValueError):  # another release wrote it: the counters begin again
            return
        self._settled, self._until = settled, until
        self._feedback.update(feedback)  # labels may have come before the first scrape
        self._sources |= {source for source, _ in feedback}

    def save(self, database: Database, replica: str, now: float) -> None:
        """Keep where the counters stand, if that was not done in the last minute."""
        if abs(now - self._saved_at) < SAVE_S:
            return
        totals: dict[str, Any] = {
            "versions": [[model, version, one.to_json()] for (model, version), one in self._settled.items()],
            "labels": self._by_label.to_json(),
            "feedback": [[source, outcome, n] for (source, outcome), n in self._feedback.items()],
        }
        with database.writing() as connection:
            metric_totals.save(database, connection, replica, self._until, totals)
        self._saved_at = now

    def text(self, connection: sa.Connection, now: float) -> str:
        """Return the metrics in Prometheus' text format, version 0.0.4."""
        until = (now - LATE_S) // WINDOW_S * WINDOW_S
        if until < self._until - LATE_S:  # the clock was ahead: what is settled reaches too far
            self._settled, self._until = {}, now // WINDOW_S * WINDOW_S
        if until > self._until:
            merge(self._settled, count(connection, self._until, until))
            self._until = until
        counts: dict[Version, Counts] = {}
        merge(counts, self._settled)
        merge(counts, count(connection, self._until, None))
        families = [
            *_collect_versions(counts),
            *write_label_counts(self._by_label.count(connection, now)),
            *_collect_rollouts(connection, now),
            *_collect_ledger(connection),
            _collect_drops(connection),
            _collect_warnings(connection),
            *self._quality.collect(connection, now),
        ]
        families += _collect_feedback(connection, self._feedback)
        for number, collect in enumerate(self._more):
            with self._guard.part(f"part {number} of the further metrics", passing=(sa.exc.SQLAlchemyError,)):
                families += list(collect(connection, now))
        return "".join(line for family in families for line in family)


def _collect_versions(counts: Mapping[Version, Counts]) -> Iterable[list[str]]:
    versions = sorted(counts.items())

    def counter(name: str, about: str, what: str) -> list[str]:
        rows = [({"model": model, "version": version}, getattr(one, what)) for (model, version), one in versions]
        return write_family(name, "counter", about, rows)

    yield counter("marina_requests_total", "Requests whose version the gateway chose.", "requests")
    yield counter("marina_errors_total", "Those of them that failed by the server's fault.", "errors")
    yield counter("marina_labels_total", "Answers whose true label has come.", "labels")
    yield counter("marina_right_answers_total", "Those of them that were right.", "right")
    about = "What the server took to answer, without the client's upload and download."
    yield write_latencies("marina_request_seconds", about, {version: one.latencies for version, one in versions})
    of_signs: Counter[int] = Counter()
    for (model, _), one in versions:
        if model == SIGNS:
            of_signs.update(one.latencies)
    yield write_latencies("signflow_inference_latency_seconds", f"{about} SignFlow, all versions.", {None: of_signs})


def _collect_rollouts(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    phases, steps, evidence, needed, ages = [], [], [], [], []
    for row in connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.ended_at.is_(None)).order_by(ROLLOUTS.c.id)):
        labels = {"model": row.model, "stable": row.stable, "canary": row.canary}
        phases.append((labels | {"phase": row.phase}, 1))
        steps.append((labels, row.step))
        ages.append((labels, max(0.0, now - row.started_at)))
        chosen = sa.select(VERDICTS.c.findings).where(VERDICTS.c.rollout == row.id).order_by(VERDICTS.c.id.desc())
        findings = connection.execute(chosen.limit(1)).scalar()
        for finding in json.loads(findings) if findings else []:
            for side in ("harm", "fine"):
                of_gate = labels | {"gate": finding["gate"], "of": side}
                evidence.append((of_gate, finding[f"log_{side}"]))
                needed.append((of_gate, finding[f"log_{side}_needed"]))
    yield write_family("marina_rollout_phase", "gauge", "1 for the phase an open rollout is in.", phases)
    yield write_family("marina_rollout_step", "gauge", "The step of the policy it is at, from 0.", steps)
    yield write_family("marina_rollout_age_seconds", "gauge", "How long ago it was started.", ages)
    about = "Log e-value of the last verdict, by gate: of harm, and of none."
    yield write_family("marina_rollout_log_evidence", "gauge", about, evidence)
    yield write_family("marina_rollout_log_evidence_needed", "gauge", "Where it decides.", needed)


def _collect_ledger(connection: sa.Connection) -> Iterable[list[str]]:
    """Report the last row: anyone who keeps it can detect that rows were cut off or written again."""
    chosen = sa.select(LEDGER.c.seq, LEDGER.c.hash).order_by(LEDGER.c.seq.desc()).limit(1)
    row = connection.execute(chosen).one_or_none()
    yield write_family("marina_ledger_rows", "gauge", "Rows of the ledger.", [({}, row.seq if row else 0)])
    about = "The first 12 digits of the SHA-256 of its last row, as a number."
    yield write_family("marina_ledger_head", "gauge", about, [({}, int(row.hash[:12], 16) if row else 0)])


def _collect_drops(connection: sa.Connection) -> list[str]:
    rows = [({"replica": replica}, count) for replica, count in sorted(dropped(connection).items())]
    return write_family("marina_log_dropped_total", "counter", "Answers not logged for want of space.", rows)


def _collect_warnings(connection: sa.Connection) -> list[str]:
    rows = [({"model": model, "version": version}, n) for (model, version), n in sorted(warned(connection).items())]
    return write_family(
        "marina_input_warnings_total", "counter", "Warnings in logged answers: inputs that are unusual.", rows
    )


def _collect_feedback(connection: sa.Connection, counts: Mapping[tuple[str, str], int]) -> Iterable[list[str]]:
    rows = [({"source": source, "outcome": outcome}, count) for (source, outcome), count in sorted(counts.items())]
    yield write_family("marina_feedback_labels_total", "counter", "Labels that came to this server.", rows)
    waiting: list[Row] = [({}, count_early(connection))]
    yield write_family("marina_early_labels", "gauge", "Labels that wait for their answers.", waiting)
    refused: list[Row] = [({}, unknown(connection))]
    about = "Early labels that were no class of the model when their answers came."
    yield write_family("marina_early_labels_unknown_total", "counter", about, refused)

"""What releases are judged by, for Prometheus: the text of /metrics.

Counters begin at 0 with the process, as counters do, and only grow: what is deleted for its age is not taken back. Only
that of dropped answers is kept in the database, and goes on. They are of all servers that share the database, so one of
those is to be scraped, whichever.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from events import latencies
from events.access import WINDOW_S
from events.positions import dropped
from events.tables import EVIDENCE, LABELS, PREDICTIONS, ROLLOUTS, VERDICTS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Of the latency histogram; an answer that took up to 2 % longer than a bound may be counted as within it."""

LATE_S = 300.0
"""Lines and labels that come later than this are no longer counted here; the judge counts them."""

Version = tuple[str, str]


@dataclass
class _Counts:
    """Of one version."""

    requests: int = 0
    errors: int = 0
    labels: int = 0
    right: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, other: "_Counts") -> None:
        for name in ("requests", "errors", "labels", "right"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.update(other.latencies)


class Metrics:
    """Writes the metrics again and again; keeps what can no longer change much, and looks only at what is newer.

    Parameters
    ----------
    since
        Where the counters begin, in seconds since 1970.
    """

    def __init__(self, since: float) -> None:
        self._settled: dict[Version, _Counts] = {}
        self._until = since // WINDOW_S * WINDOW_S

    def text(self, connection: sa.Connection, now: float) -> str:
        """Return the metrics in Prometheus' text format, version 0.0.4."""
        until = (now - LATE_S) // WINDOW_S * WINDOW_S
        if until > self._until:
            _merge(self._settled, _count(connection, self._until, until))
            self._until = until
        counts: dict[Version, _Counts] = {}
        _merge(counts, self._settled)
        _merge(counts, _count(connection, self._until, None))
        families = [*_of_versions(counts), *_of_rollouts(connection), _of_drops(connection)]
        return "".join(line for family in families for line in family)


def _merge(into: dict[Version, _Counts], more: Mapping[Version, _Counts]) -> None:
    for version, counts in more.items():
        into.setdefault(version, _Counts()).add(counts)


def _count(connection: sa.Connection, low: float, high: float | None) -> dict[Version, _Counts]:
    """Count the windows that begin, and the labels that came, from `low` up to `high`."""
    counts: dict[Version, _Counts] = {}
    windows = sa.select(EVIDENCE).where(*_within(EVIDENCE.c.start, int(low), high and int(high)))
    for row in connection.execute(windows):
        seen = Counter(latencies.from_json(row.latencies))
        _merge(counts, {(row.model, row.version): _Counts(row.requests, row.errors, latencies=seen)})
    given, known = PREDICTIONS.c, LABELS.c
    right = sa.func.sum(sa.case((given.label == known.label, 1), else_=0))
    labels = (
        sa.select(given.model, given.version, sa.func.count(given.label).label("labels"), right.label("right"))
        .join_from(LABELS, PREDICTIONS, (given.request_id == known.request_id) & (given.instance == known.instance))
        .where(*_within(known.time, low, high))
        .group_by(given.model, given.version)
    )
    for row in connection.execute(labels):
        _merge(counts, {(row.model, row.version): _Counts(labels=row.labels, right=row.right)})
    return counts


def _within(time: sa.Column[Any], low: float, high: float | None) -> list[sa.ColumnElement[bool]]:
    return [time >= low] if high is None else [time >= low, time < high]


def _of_versions(counts: Mapping[Version, _Counts]) -> Iterable[list[str]]:
    versions = sorted(counts.items())

    def counter(name: str, about: str, what: str) -> list[str]:
        rows = [({"model": model, "version": version}, getattr(one, what)) for (model, version), one in versions]
        return _family(name, "counter", about, rows)

    yield counter("marina_requests_total", "Requests whose version the gateway chose.", "requests")
    yield counter("marina_errors_total", "Those of them that failed by the server's fault.", "errors")
    yield counter("marina_labels_total", "Answers whose true label has come.", "labels")
    yield counter("marina_right_answers_total", "Those of them that were right.", "right")
    rows: list[tuple[dict[str, str], float]] = []
    suffixes = []
    for (model, version), one in versions:
        labels, total = {"model": model, "version": version}, one.latencies.total()
        for bound in BOUNDS_S:
            suffixes.append("_bucket")
            rows.append((labels | {"le": str(bound)}, total - latencies.slower(one.latencies, 1000 * bound)))
        seconds = sum(count * latencies.GROWTH**bucket for bucket, count in one.latencies.items()) / 1000
        suffixes += ["_bucket", "_sum", "_count"]
        rows += [(labels | {"le": "+Inf"}, total), (labels, seconds), (labels, total)]
    about = "Time until the gateway had answered."
    yield _family("marina_request_seconds", "histogram", about, rows, suffixes)


def _of_rollouts(connection: sa.Connection) -> Iterable[list[str]]:
    phases, steps, evidence, needed = [], [], [], []
    for row in connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.ended_at.is_(None)).order_by(ROLLOUTS.c.id)):
        labels = {"model": row.model, "stable": row.stable, "canary": row.canary}
        phases.append((labels | {"phase": row.phase}, 1))
        steps.append((labels, row.step))
        chosen = sa.select(VERDICTS.c.findings).where(VERDICTS.c.rollout == row.id).order_by(VERDICTS.c.id.desc())
        findings = connection.execute(chosen.limit(1)).scalar()
        for finding in json.loads(findings) if findings else []:
            for side in ("harm", "fine"):
                of_gate = labels | {"gate": finding["gate"], "of": side}
                evidence.append((of_gate, finding[f"log_{side}"]))
                needed.append((of_gate, finding[f"log_{side}_needed"]))
    yield _family("marina_rollout_phase", "gauge", "1 for the phase an open rollout is in.", phases)
    yield _family("marina_rollout_step", "gauge", "The step of the policy it is at, from 0.", steps)
    about = "Log e-value of the last verdict, by gate: of harm, and of none."
    yield _family("marina_rollout_log_evidence", "gauge", about, evidence)
    yield _family("marina_rollout_log_evidence_needed", "gauge", "Where it decides.", needed)


def _of_drops(connection: sa.Connection) -> list[str]:
    rows = [({"replica": replica}, count) for replica, count in sorted(dropped(connection).items())]
    return _family("marina_log_dropped_total", "counter", "Answers not logged for want of space.", rows)


def _family(
    name: str,
    kind: str,
    about: str,
    rows: Iterable[tuple[Mapping[str, str], float]],
    suffixes: Iterable[str] | None = None,
) -> list[str]:
    rows = list(rows)
    lines = [f"# HELP {name} {about}\n", f"# TYPE {name} {kind}\n"]
    for (labels, value), suffix in zip(rows, suffixes or [""] * len(rows), strict=True):
        written = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{suffix}{{{written}}} {value!r}\n")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

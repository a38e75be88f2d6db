"""Figures that reports and decisions about phases are made of: from the log, labels, archives, and /metrics.

Each is what it is or missing; none is made up for want of data.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from archives.archive import Archive, open_archive
from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.store import newest
from marina.database.tables import DECLARATIONS, EVIDENCE, PREDICTIONS
from marina.events import latency_histogram
from marina.events.quality import count_quality
from marina.events.version_counts import Counts, Version, count
from marina.releases.declarations import copy_name
from marina.serving.preflight import is_loopback
from marina.settings import Settings, management_token

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = list[tuple[str, dict[str, str], float]]


class FiguresError(MarinaError):
    """Figures cannot be read; the message says where."""


@dataclass(frozen=True)
class Figure:
    """A number, and where it came from; no number where there is no data, and then `source` says what is missing."""

    value: float | None
    source: str


def requests_of(
    connection: sa.Connection, low: float, high: float, models: Iterable[str] = ()
) -> dict[Version, Counts]:
    """Count requests, errors and latencies by version from `low` to `high`; of all models where none is named."""
    chosen = set(models)
    return {one: counts for one, counts in count(connection, low, high).items() if not chosen or one[0] in chosen}


def availability(counts: Mapping[Version, Counts]) -> Figure:
    """Return the share of requests that did not fail by the server's fault."""
    requests, errors = (sum(getattr(one, name) for one in counts.values()) for name in ("requests", "errors"))
    if not requests:
        return Figure(None, "the log has no requests of that time")
    return Figure(1 - errors / requests, f"log, {requests:,} requests, {errors:,} failed")


def latency_ms(counts: Mapping[Version, Counts], quantile: float = 0.95) -> Figure:
    """Return how many milliseconds a share of the answers took at most, to within 2 %."""
    total: Counter[int] = Counter()
    for one in counts.values():
        total.update(one.latencies)
    if not total.total():
        return Figure(None, "the log has no answers of that time")
    found = latency_histogram.quantile(total, quantile)
    return Figure(found, f"log, {total.total():,} answers at the gateway")


def serving_ms(connection: sa.Connection, model: str, source: str, low: float, most: int = 10_000) -> Figure:
    """Return the 95th percentile of the time in the worker of answers that one source (``rule``) gave, in ms."""
    given = PREDICTIONS.c
    asked = sa.select(given.serving_ms, given.answer).where(given.model == model, given.time >= low)
    rows = connection.execute(asked.where(given.serving_ms.is_not(None)).order_by(given.time.desc()).limit(most))
    found = sorted(row.serving_ms for row in rows if _source(row.answer) == source)
    if not found:
        return Figure(None, f"the log has no answers of {model} by a {source}")
    return Figure(found[int(0.95 * (len(found) - 1))], f"log, {len(found):,} answers in the worker")


def _source(answer: str) -> str:
    said = json.loads(answer)
    while isinstance(said, list) and said:
        said = said[0]
    return str(said.get("source", "")) if isinstance(said, dict) else ""


def live_quality(
    connection: sa.Connection, model: str, measure: str, low: float, least: int, high: float | None = None
) -> Figure:
    """Return a measure of a model's answers by the labels that came from `low` to `high`, where there are enough."""
    best: Figure | None = None
    seen = 0
    for (_, version), quality in sorted(count_quality(connection, low, high, model).items()):
        seen += quality.labels
        if quality.labels >= least and (value := quality.measures().get(measure)) is not None:
            best = Figure(value, f"feedback, {quality.labels:,} labels of {model} {version}")
    return best or Figure(None, f"feedback: {seen} labels of {model}, {least} are needed")


def served_archive(settings: Settings, connection: sa.Connection, model: str) -> Archive | None:
    """Open the archive that has the most of a model's traffic, else the newest of the store; None where none is."""
    declared = DECLARATIONS.c
    row = connection.execute(
        sa.select(DECLARATIONS).where(declared.model == model).order_by(declared.weight.desc()).limit(1)
    ).one_or_none()
    paths: list[Path] = []
    if row is not None:
        paths.append(settings.state_dir / "declared" / copy_name(model, row.version, row.sha256))
    paths += [one.path for one in newest(settings.archive_store) if one.model == model]
    for path in paths:
        with contextlib.suppress(ArchiveError, OSError):
            return open_archive(path)
    return None


def evaluation(archive: Archive | None, metric: str) -> Figure:
    """Return a metric of the archive's evaluation on held-out data."""
    if archive is None:
        return Figure(None, "there is no archive of that model")
    origin = archive.json("provenance.json")
    value = origin.get("metrics", {}).get(metric)
    one = archive.contract
    if not isinstance(value, int | float):
        return Figure(None, f"the archive of {one.model} {one.version} states no {metric}")
    quick = ", a quick training" if origin.get("quick") else ""
    return Figure(float(value), f"archive's evaluation, {one.model} {one.version}{quick}")


def read_metrics(settings: Settings, place: str = "") -> Samples:
    """Read /metrics of the running server, or a place: a file or URL in Prometheus' text format.

    Of no place, there is nothing where no server answers. The management token is sent to this machine alone.

    Raises
    ------
    FiguresError
        When a URL that was named does not answer.
    OSError
        When a file that was named cannot be read.
    """
    if place and not place.startswith(("http://", "https://")):
        return parse_metrics(Path(place).read_text())
    url = place or f"http://127.0.0.1:{settings.management_port}/metrics"
    if not place and not (settings.state_dir / "running.json").exists():
        return []
    headers = {}
    try:
        if is_loopback(httpx.URL(url).host):
            headers["Authorization"] = f"Bearer {management_token(settings)[0]}"
        answer = httpx.get(url, headers=headers, timeout=30)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        if place:
            raise FiguresError(f"{place} cannot be read: {error}. See that it is where metrics are") from error
        return []
    return parse_metrics(answer.text)


def parse_metrics(text: str) -> Samples:
    """Read Prometheus' text format."""
    found: Samples = []
    for line in text.splitlines():
        if line and not line.startswith("#") and (match := _SAMPLE.match(line)):
            with contextlib.suppress(ValueError):
                found.append((match["name"], dict(_LABEL.findall(match["labels"] or "")), float(match["value"])))
    return found


def ratio(samples: Samples, name: str, label: str, wanted: str) -> Figure:
    """Return which share of a metric's sum has a label's value, such as cache looks that were hits."""
    mine = [(labels, value) for found, labels, value in samples if found == name]
    total = sum(value for _, value in mine)
    if not total:
        return Figure(None, f"metrics: no {name}")
    part = sum(value for labels, value in mine if labels.get(label) == wanted)
    return Figure(part / total, f"metrics, {name}, {total:,.0f} in all")


def volume(connection: sa.Connection, low: float, high: float) -> dict[str, int]:
    """Count the requests of each model from `low` to `high`."""
    seen = EVIDENCE.c
    asked = sa.select(seen.model, sa.func.sum(seen.requests)).where(seen.start >= int(low), seen.start < int(high))
    return {str(model): int(total) for model, total in connection.execute(asked.group_by(seen.model))}


def as_json(one: Figure) -> dict[str, Any]:
    """Return a figure as JSON values."""
    return {"figure": one.value, "source": one.source}

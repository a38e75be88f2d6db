"""Two versions side by side: what their archives state, what users met, and who is right on the same requests."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from archives.archive import open_archive
from marina.database.tables import EVIDENCE, PREDICTIONS
from marina.events import latency_histogram
from marina.events.labelled_predictions import IS_RIGHT, select_labelled
from marina.rollout.judge.evidence import Counts, Pairs
from marina.rollout.judge.intervals import mcnemar
from marina.rollout.label_evidence import count_flags
from marina.rollout.shadow import pairs

SIGNIFICANT = 0.05
SHOWN_NAMES = 12


@dataclass(frozen=True)
class ArchiveDescription:
    """What an archive says of itself.

    Attributes
    ----------
    archive_bytes, graph_bytes
        Size of the file, and of the graph in it.
    gap, tolerance
        Largest difference of the exported from the trained model's answers to the golden inputs, and what is allowed.
    metrics
        On held-out data, from its provenance.
    contract
        `contract.json`.
    """

    archive_bytes: int
    graph_bytes: int
    gap: float
    tolerance: float
    git_commit: str
    metrics: Mapping[str, float]
    contract: Mapping[str, Any]


@dataclass(frozen=True)
class Observed:
    """What users met: counts of the gateway, and labels of answers.

    Attributes
    ----------
    requests, errors, latencies
        Of the gateway.
    labelled, right
        Answers with a label.
    flags
        Of labelled answers of yes and no, what F1 is of.
    """

    requests: int = 0
    errors: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    labelled: int = 0
    right: int = 0
    flags: Counts = field(default_factory=Counts)

    @property
    def p50_p95_ms(self) -> tuple[float, float] | None:
        """Median and p95 of what the gateway took, in milliseconds."""
        if not sum(self.latencies.values()):
            return None
        return latency_histogram.quantile(self.latencies, 0.5), latency_histogram.quantile(self.latencies, 0.95)


@dataclass(frozen=True)
class Side:
    """One of the two: its name, and as much as is known of it."""

    name: str
    description: ArchiveDescription | None
    observed: Observed


@dataclass(frozen=True)
class Comparison:
    """Both sides, and the labelled requests that both answered: where, and how.

    Attributes
    ----------
    pairs_from
        Where the labelled requests are from.
    metrics_from
        Where the metrics of both sides' `description` are from, the words that follow "Metrics are".
    """

    baseline: Side
    candidate: Side
    pairs: Pairs
    pairs_from: str
    metrics_from: str = "what training stated"

    @property
    def verdict(self) -> tuple[bool | None, str]:
        """Whether the candidate is better (None: not shown), and that in a sentence."""
        worse, better = self.pairs.worse, self.pairs.better
        judged = worse + self.pairs.same + better
        if not judged:
            return None, "No labelled request was answered by both, so which is right more often is not shown."
        p = mcnemar(worse, better)
        seen = f"Of {judged:,} labelled requests that both answered ({self.pairs_from}), {self.candidate.name} lost "
        seen += f"{worse:,} that {self.baseline.name} had right and gained {better:,}: "
        seen += f"{100 * (better - worse) / judged:+.2f} points, McNemar p = {p:.2g}. "
        if p >= SIGNIFICANT:
            return None, seen + "That cannot be distinguished from chance."
        return better > worse, seen + f"It is {'better' if better > worse else 'worse'}."


def pairs_of(before: Sequence[bool], after: Sequence[bool]) -> Pairs:
    """Count on which of the same requests the one side was right, and on which the other."""
    both = list(zip(before, after, strict=True))
    worse, better = both.count((True, False)), both.count((False, True))
    return Pairs(worse, len(both) - worse - better, better, both.count((False, False)))


def describe_archive(archive: Path) -> ArchiveDescription:
    """Read what an archive says of itself.

    Raises
    ------
    archives.contract.ArchiveError
        When the linter refuses it.
    """
    opened = open_archive(archive)
    certificate, provenance = opened.json("certificate.json"), opened.json("provenance.json")
    numbers = {name: value for name, value in provenance.get("metrics", {}).items() if isinstance(value, int | float)}
    return ArchiveDescription(
        opened.size,
        len(opened.members["model.onnx"]),
        float(certificate["gap"]["value"]),
        float(certificate["tolerance"]),
        str(provenance.get("git_commit", "")),
        numbers,
        opened.json("contract.json"),
    )


def count_observed(connection: sa.Connection, model: str, version: str) -> Observed:
    """Read all that the database has of a version's traffic."""
    windows = connection.execute(
        sa.select(EVIDENCE.c.requests, EVIDENCE.c.errors, EVIDENCE.c.latencies).where(
            EVIDENCE.c.model == model, EVIDENCE.c.version == version
        )
    ).all()
    counts: dict[int, int] = {}
    for window in windows:
        counts = latency_histogram.add(counts, latency_histogram.from_json(window.latencies))
    answer = PREDICTIONS.c
    labelled, right = connection.execute(
        select_labelled(sa.func.count(), sa.func.count(sa.case((IS_RIGHT, 1)))).where(
            answer.model == model, answer.version == version, answer.label.is_not(None)
        )
    ).one()
    requests, errors = sum(row.requests for row in windows), sum(row.errors for row in windows)
    return Observed(requests, errors, counts, labelled, right, count_flags(connection, model, version))


def shadow_pairs(connection: sa.Connection, model: str, baseline: str, candidate: str) -> Pairs:
    """Count labelled requests that both versions answered while either one was in the other's shadow."""
    found = Pairs()
    with contextlib.suppress(pairs.NoPairsError):
        found += pairs.read(connection, model, shadow=candidate, stable=baseline).pairs
    with contextlib.suppress(pairs.NoPairsError):
        back = pairs.read(connection, model, shadow=baseline, stable=candidate).pairs
        found += Pairs(back.better, back.same, back.worse, back.wrong)
    return found


def differences(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """Say in what two contracts differ: what a client of the one would have to change for the other."""
    found = []
    for what in ("labels", "features"):
        before, after = baseline[what], candidate[what]
        for word, names in (
            ("new", [name for name in after if name not in before]),
            ("gone", [name for name in before if name not in after]),
        ):
            if names:
                rest = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
                found.append(f"{what} {word}: {', '.join(names[:SHOWN_NAMES])}{rest}")
        if before != after and sorted(before) == sorted(after):
            found.append(f"{what} in another order")
    for what in ("inputs", "outputs"):
        before, after = ({one["name"]: _tensor(one) for one in side[what]} for side in (baseline, candidate))
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                found.append(f"{what[:-1]} {name}: {before.get(name, 'none')} -> {after.get(name, 'none')}")
    for what in ("task", "limits", "thresholds"):
        if baseline[what] != candidate[what]:
            found.append(f"{what}: {json.dumps(baseline[what])} -> {json.dumps(candidate[what])}")
    return found


def _tensor(one: Mapping[str, Any]) -> str:
    return f"{one['dtype']} {' x '.join(map(str, one['shape']))} {one['unit']}".strip()

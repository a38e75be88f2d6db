"""How good alerts are at what is new: at hours when the state an alert is about does not hold, whether it begins.

A state that lasts is easily foretold, so figures over all hours flatter. Here an alert counts where it is given, at
hours at which its state does not hold; regimes always can change, so of regime changes every hour counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.market.alerts import ALERTS, HORIZONS_H, LABELS, QUESTIONS, bounds_of, severities
from training.market.metrics import Flags, Walked
from training.market.rows import Table


@dataclass(frozen=True)
class Onset:
    """One question's figures, all of hours at which the state does not hold.

    Attributes
    ----------
    label
        The question.
    rate
        Share of these hours after which the state begins within the horizon.
    precision, recall
        Of alerts: how often the state began within the horizon, and how many of the hours before that had one.
    begun, foretold
        How often the state began, and the share of beginnings with an alert within the horizon before.
    severe_precision, severe_recall
        As of alerts, of answers of S2 and S3.
    alerts_per_day, alerts_per_day_worst
        Hours a day with an alert, over all hours, and in the fold that had most.
    """

    label: str
    rate: float
    precision: float
    recall: float
    begun: int
    foretold: float
    severe_precision: float
    severe_recall: float
    alerts_per_day: float
    alerts_per_day_worst: float


@dataclass(frozen=True)
class Rate:
    """Hours a day at which any horizon of an alert gives one, over all hours and in the fold that had most."""

    alert: str
    mean: float
    worst: float


def score_onsets(walked: Walked, table: Table) -> list[Onset]:
    """Score every question on what begins."""
    fresh = ~table.outcomes.already[walked.rows]
    severe = fresh & (severities(walked.probabilities, bounds_of()) > 0)
    begins = _begins(walked, table)
    times = table.times[walked.rows]
    found = []
    for question, (alert, horizon) in enumerate(QUESTIONS):
        mine, alerted = fresh[:, question], walked.alerted[:, question]
        truth = mine & table.outcomes.happened[walked.rows, question]
        starts = np.flatnonzero(begins[:, ALERTS.index(alert)])
        since = np.searchsorted(times, times[starts] - np.timedelta64(horizon, "h"))
        before = np.concatenate([[0], np.cumsum(alerted)])
        mean, worst = _per_day(alerted, walked)
        found.append(
            Onset(
                label=LABELS[question],
                rate=_share(truth, mine),
                precision=_share(truth, alerted),
                recall=_share(alerted, truth),
                begun=len(starts),
                foretold=float((before[starts] > before[since]).mean()) if len(starts) else float("nan"),
                severe_precision=_share(truth, severe[:, question]),
                severe_recall=_share(severe[:, question], truth),
                alerts_per_day=mean,
                alerts_per_day_worst=worst,
            )
        )
    return found


def count_alerts(walked: Walked) -> list[Rate]:
    """Return how often each alert is given, at whichever horizon; the last is of any alert."""
    by_alert: Flags = np.any(walked.alerted.reshape(-1, len(ALERTS), len(HORIZONS_H)), axis=2)
    found = [Rate(alert, *_per_day(by_alert[:, k], walked)) for k, alert in enumerate(ALERTS)]
    return [*found, Rate("any of them", *_per_day(np.asarray(by_alert.any(axis=1)), walked))]


def metrics(found: Sequence[Onset], often: Sequence[Rate]) -> dict[str, float]:
    """Return the figures by name, such as ``SPIKE_LIKELY_4h.onset_recall`` and ``SPIKE_LIKELY.alerts_per_day``."""
    values = {
        f"{one.label.replace('@', '_')}.onset_{name}": getattr(one, name)
        for one in found
        for name in ("precision", "recall", "foretold")
    }
    values |= {f"{one.alert.replace(' ', '_')}.alerts_per_day": one.mean for one in often}
    return {key: value for key, value in values.items() if np.isfinite(value)}


def markdown(found: Sequence[Onset], often: Sequence[Rate]) -> str:
    """Return the figures as two tables."""
    lines = [
        "| alert | h | begins after | precision | recall | begun, foretold | S2+: precision, recall "
        "| alerts a day (worst fold) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        alert, horizon = one.label.split("@")
        severe = "never" if np.isnan(one.severe_precision) else f"{one.severe_precision:.2f}, {one.severe_recall:.2f}"
        lines.append(
            f"| {alert} | {horizon} | {one.rate:.3f} | {one.precision:.2f} | {one.recall:.2f} "
            f"| {one.begun}, {one.foretold:.2f} | {severe} "
            f"| {one.alerts_per_day:.1f} ({one.alerts_per_day_worst:.1f}) |"
        )
    lines += ["", "| alert, at any horizon | alerts a day (worst fold) | share of hours |", "|---|---|---|"]
    lines += [f"| {one.alert} | {one.mean:.1f} ({one.worst:.1f}) | {one.mean / 24:.3f} |" for one in often]
    return "\n".join(lines)


def _begins(walked: Walked, table: Table) -> Flags:
    """Return at which rows each alert's state holds and did not in the row before; a regime, at which it is another."""
    first = np.arange(len(ALERTS)) * len(HORIZONS_H)  # whether a state holds is the same at all horizons
    held = table.outcomes.already[walked.rows][:, first]
    regime = table.outcomes.regime[walked.rows]
    begins = np.zeros_like(held)
    begins[1:] = held[1:] & ~held[:-1]
    begins[1:, ALERTS.index("REGIME_CHANGE_PENDING")] = regime[1:] != regime[:-1]
    return begins


def _per_day(given: Flags, walked: Walked) -> tuple[float, float]:
    """Return hours a day, over all folds and in the fold that has most."""
    return 24 * float(given.mean()), 24 * max(float(given[walked.fold == fold].mean()) for fold in set(walked.fold))


def _share(part: Flags, whole: Flags) -> float:
    """Return the share of `whole` that is in `part`; NaN of nothing."""
    return float(part[whole].mean()) if whole.any() else float("nan")

"""How good alerts are: each question's answers against what happened, against chance, and against persistence.

Every number is from answers to hours after those learned from. Calibration and thresholds, too: those of a fold come
from the folds before it (`walk_forward`), so that the first fold serves them and is not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.market.alerts import ALERTS, LABELS, QUESTIONS, SEVERE
from models.market.state import REGIMES
from models.market.targets import Outcomes
from models.quality import measures
from training.calibration import PlattScaling
from training.evaluation.reliability import Reliability, calibration_error, measure_reliability
from training.evaluation.slices import SliceReport, slice_report
from training.market.ensembles import NESTING, Answers, best_thresholds, rate_thresholds
from training.market.rows import Floats, Table

Flags = npt.NDArray[np.bool_]
EMBARGO = np.timedelta64(48, "h")
"""How long before what is tested everything that is learned ends: as long as the longest horizon."""


@dataclass(frozen=True)
class Walked:
    """Calibrated answers and decisions on the folds from the second on, all [M, 16] but rows and fold, [M].

    `decided` is by the thresholds with the best F1 on earlier folds. `alerted` is what is served: by the thresholds
    that held the rate of alerts in each earlier fold, and only where the alert's state does not hold already.
    """

    rows: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    probabilities: Floats
    decided: Flags
    alerted: Flags
    base: Floats


@dataclass(frozen=True)
class Score:
    """One question's figures.

    Attributes
    ----------
    label
        The question.
    base_rate
        Share of hours followed by the event.
    auc, auc_worst, auc_best
        Area under the ROC curve: mean over the folds, and their range.
    f1, precision, recall
        At the threshold with the best F1 on earlier folds.
    always_f1, persistence_f1
        F1 of saying yes always, and of `Outcomes.persisted`.
    skill
        Brier skill score: how much of the squared error of stating the earlier base rate is saved; 1 is everything.
    calibration_error
        Expected calibration error (`training.evaluation.reliability`).
    news_rate, news_auc, news_f1
        Of the hours at which the alert's state did not hold already: base rate, area, and F1 at the same threshold.
    severe_share, severe_precision
        Share of hours with an answer of S2 or S3, and how often the event followed these.
    """

    label: str
    base_rate: float
    auc: float
    auc_worst: float
    auc_best: float
    f1: float
    precision: float
    recall: float
    always_f1: float
    persistence_f1: float
    skill: float
    calibration_error: float
    news_rate: float
    news_auc: float
    news_f1: float
    severe_share: float
    severe_precision: float


def walk_forward(answers: Answers, outcomes: Outcomes, times: npt.NDArray[np.datetime64]) -> Walked:
    """Calibrate each fold's answers, and decide, by what the folds before it show.

    Parameters
    ----------
    answers
        Of at least two folds.
    outcomes
        Of all rows.
    times
        datetime64 [N].
    """
    parts = []
    when = times[answers.rows]
    for fold in range(1, int(answers.fold.max()) + 1):
        mine = answers.fold == fold
        past = (answers.fold < fold) & (when < when[mine].min() - EMBARGO)
        truth = outcomes.happened[answers.rows[past]]
        curve = PlattScaling.fit(answers.probabilities[past], truth)
        before = NESTING(curve(answers.probabilities[past]))
        thresholds = best_thresholds(before, truth)
        probabilities = NESTING(curve(answers.probabilities[mine]))
        base = np.broadcast_to(truth.mean(axis=0), probabilities.shape)
        held = rate_thresholds(before, ~outcomes.already[answers.rows[past]], answers.fold[past])
        alerted = (probabilities >= held) & ~outcomes.already[answers.rows[mine]]
        decided = probabilities >= thresholds
        parts.append((answers.rows[mine], answers.fold[mine], probabilities, decided, alerted, base))
    return Walked(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def scores(walked: Walked, outcomes: Outcomes) -> list[Score]:
    """Score every question.

    Parameters
    ----------
    walked
        Answers.
    outcomes
        Of all rows.
    """
    return [_score(question, walked, outcomes) for question in range(len(QUESTIONS))]


def metrics(found: Sequence[Score]) -> dict[str, float]:
    """Return the figures by name, such as ``SPIKE_LIKELY_4h.f1``, and their means."""
    names = ("auc", "f1", "precision", "recall", "skill", "calibration_error", "news_auc")
    values = {f"{one.label.replace('@', '_')}.{name}": getattr(one, name) for one in found for name in names}
    means = {name: _over(np.nanmean, [getattr(one, name) for one in found]) for name in names}
    return {key: value for key, value in (means | values).items() if np.isfinite(value)}


def markdown(found: Sequence[Score]) -> str:
    """Return the scores as a table."""
    lines = [
        "| alert | h | base rate | AUC (worst to best fold) | F1 | precision | recall | F1 always | F1 persistence "
        "| Brier skill | ECE | news: rate, AUC, F1 | S2+: share, precision |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        alert, horizon = one.label.split("@")
        f1 = f"**{one.f1:.2f}**" if one.f1 > 0.6 else f"{one.f1:.2f}"
        severe = "never" if one.severe_share == 0 else f"{one.severe_share:.3f}, {one.severe_precision:.2f}"
        lines.append(
            f"| {alert} | {horizon} | {one.base_rate:.2f} | {one.auc:.2f} ({one.auc_worst:.2f} to {one.auc_best:.2f}) "
            f"| {f1} | {one.precision:.2f} | {one.recall:.2f} | {one.always_f1:.2f} | {one.persistence_f1:.2f} "
            f"| {one.skill:.2f} | {one.calibration_error:.3f} "
            f"| {one.news_rate:.2f}, {one.news_auc:.2f}, {one.news_f1:.2f} | {severe} |"
        )
    return "\n".join(lines)


def slices(walked: Walked, table: Table) -> SliceReport:
    """Return how often decisions were right: by regime, by year, and where some alert's state held already or not."""
    right = (walked.decided == table.outcomes.happened[walked.rows]).mean(axis=1)
    held = table.outcomes.already[walked.rows].any(axis=1)
    return slice_report(
        right,
        {
            "regime": np.array(REGIMES)[table.outcomes.regime[walked.rows]],
            "year": table.times[walked.rows].astype("datetime64[Y]").astype(str),
            "state": np.where(held, "some alert's holds already", "none holds"),
        },
    )


def reliability(walked: Walked, found: Outcomes) -> dict[str, Reliability]:
    """Return by alert, over all its horizons, how often what was stated came true."""
    truth = found.happened[walked.rows]
    mine = {alert: [k for k, (of, _) in enumerate(QUESTIONS) if of == alert] for alert in ALERTS}
    return {
        alert: measure_reliability(walked.probabilities[:, columns].ravel(), truth[:, columns].ravel())
        for alert, columns in mine.items()
    }


def area(probabilities: Floats, truth: Flags) -> float:
    """Return the area under the ROC curve; NaN where only one answer occurs."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, probabilities)) if 0 < truth.sum() < len(truth) else float("nan")


def _score(question: int, walked: Walked, outcomes: Outcomes) -> Score:
    truth = outcomes.happened[walked.rows, question]
    news = ~outcomes.already[walked.rows, question]
    p, decided = walked.probabilities[:, question], walked.decided[:, question]
    areas = [area(p[walked.fold == fold], truth[walked.fold == fold]) for fold in np.unique(walked.fold)]
    f1, precision, recall = _f1(decided, truth)
    error = ((p - truth) ** 2).mean()
    severe = p >= SEVERE[QUESTIONS[question][0]][0]
    return Score(
        label=LABELS[question],
        base_rate=float(truth.mean()),
        auc=_over(np.nanmean, areas),
        auc_worst=_over(np.nanmin, areas),
        auc_best=_over(np.nanmax, areas),
        f1=f1,
        precision=precision,
        recall=recall,
        always_f1=_f1(np.ones_like(truth), truth)[0],
        persistence_f1=_f1(outcomes.persisted[walked.rows, question], truth)[0],
        skill=float(1 - error / max(((walked.base[:, question] - truth) ** 2).mean(), 1e-12)),
        calibration_error=calibration_error(p, truth),
        news_rate=float(truth[news].mean()) if news.any() else float("nan"),
        news_auc=area(p[news], truth[news]),
        news_f1=_f1(decided[news], truth[news])[0],
        severe_share=float(severe.mean()),
        severe_precision=float(truth[severe].mean()) if severe.any() else float("nan"),
    )


def _over(what: Any, values: Sequence[float]) -> float:
    return float(what(values)) if np.isfinite(values).any() else float("nan")


def _f1(decided: Flags, truth: Flags) -> tuple[float, float, float]:
    """Return F1, precision and recall; zero where nothing was decided or nothing happened."""
    hits = float((decided & truth).sum())
    said, true = float(decided.sum()), float(truth.sum())
    return float(measures.f1(hits, said, true)), hits / max(said, 1.0), hits / max(true, 1.0)

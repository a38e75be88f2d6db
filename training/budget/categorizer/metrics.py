"""How well rules and model answer together: coverage and accuracy of the hybrid, of its parts, and slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.budget.hybrid import MODEL, SOURCES, Decisions
from models.budget.rules import RuleSet
from training.budget.categorizer.vectorizer import Transactions
from training.evaluation.slices import SliceReport, slice_report

if TYPE_CHECKING:
    import pandas as pd


def by_rules(
    rules: RuleSet, bank: Transactions, labels: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the label of each transaction's best rule and its confidence, both -1 where none fires."""
    best = rules.fire(bank.parsed, bank.amounts, bank.days.astype("datetime64[D]")).best(len(bank))
    positions = np.array([*(labels.index(rule.category) for rule in rules.rules), -1])
    confidence = np.array([*(rule.confidence for rule in rules.rules), -1.0])
    return positions[best], confidence[best]


def hybrid_metrics(decided: Decisions, said: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy and coverage of the hybrid, of its parts, and of the rules alone."""
    right, sure = decided.labels == target, decided.sure
    fired = said >= 0
    metrics = {
        "accuracy": float(right.mean()),
        "coverage": float(sure.mean()),
        "rules_coverage": float(fired.mean()),
        "rules_accuracy": float((said == target).mean()),
    }
    if sure.any():
        metrics["accuracy_sure"] = float(right[sure].mean())
    if fired.any():
        metrics["rules_precision"] = float((said == target)[fired].mean())
    for number, source in enumerate(SOURCES):
        mine = decided.sources == number
        metrics[f"by_{source}_share"] = float(mine.mean())
        if mine.any():
            metrics[f"by_{source}_accuracy"] = float(right[mine].mean())
    return metrics


def unseen_metrics(
    decided: Decisions, target: npt.NDArray[np.int64], unseen: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return how the hybrid and the model's sure answers fare at merchants that were not met in training."""
    metrics = {"unseen_merchants_share": float(unseen.mean())}
    right, sure = decided.labels == target, unseen & (decided.sources == MODEL)
    if unseen.any():
        metrics["unseen_merchants_accuracy"] = float(right[unseen].mean())
        metrics["unseen_merchants_coverage"] = float(decided.sure[unseen].mean())
    if sure.any():
        metrics["unseen_merchants_by_model_accuracy"] = float(right[sure].mean())
    return metrics


def summary(metrics: dict[str, float]) -> str:
    """Return what the metrics say in three lines."""

    def share(name: str) -> str:
        return f"{metrics[name]:.3f}" if name in metrics else "-"

    by = {source: f"{metrics[f'by_{source}_share']:.1%} (right {share(f'by_{source}_accuracy')})" for source in SOURCES}
    return (
        f"on unseen users: accuracy {metrics['accuracy']:.3f}; answered for sure {metrics['coverage']:.1%}, "
        f"of those right {share('accuracy_sure')}\n"
        f"  by rules {by['rule']}, by the model {by['model']}, unsure {by['fallback']}\n"
        f"  the model alone {metrics['model_accuracy']:.3f}; rules alone answer {metrics['rules_coverage']:.1%}, "
        f"right {share('rules_precision')}\n"
        f"  at unseen merchants ({metrics['unseen_merchants_share']:.1%}) {share('unseen_merchants_accuracy')}; of the "
        f"model's sure answers there {share('unseen_merchants_by_model_accuracy')}"
    )


def sliced(decided: Decisions, bank: Transactions, frame: pd.DataFrame, labels: Sequence[str]) -> SliceReport:
    """Return whether some households, banks' forms or sizes of payments are served worse than others."""
    truth = np.searchsorted(labels, frame["category"].to_numpy().astype(str))
    magnitudes = np.array(["below 10", "10 to 100", "100 to 1000", "above 1000"])
    return slice_report(
        (decided.labels == truth).astype(np.float64),
        {
            "user": frame["user"].to_numpy().astype(str),
            "category": frame["category"].to_numpy().astype(str),
            "amount in EUR": magnitudes[np.digitize(np.abs(bank.amounts), (10, 100, 1000))],
            "weekend": np.where((bank.days + 3) % 7 > 4, "weekend", "week"),
        },
    )

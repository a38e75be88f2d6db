"""What the linear categorizer goes by: exact SHAP values of groups of columns, and the words that speak for a category.

Of a linear model on independent columns the SHAP value of a column is its weight times its value's distance from the
mean (Lundberg & Lee, 2017), and those of a group add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from models.budget.categories import GROUP_COLUMNS
from training.budget_bags import Bagger, Bank
from training.budget_estimators import LinearBag
from training.calibration import Calibration
from training.tracking import Run

MOST_ROWS = 1000
MOST_WORDS = 12


def explain(
    run: Run, estimator: LinearBag, calibration: Calibration, bagger: Bagger, bank: Bank, labels: Sequence[str]
) -> dict[str, float]:
    """Log a picture and tables; return each group's mean absolute SHAP value, in natural log-odds.

    The value explained is the calibrated logit of the category that the model answers.
    """
    some = bank.select(np.arange(min(len(bank), MOST_ROWS)))
    rows = bagger.rows(some)
    table = estimator.table_ * calibration.slope[estimator.classes_].astype(np.float32)
    answers = (rows.matrix @ table + estimator.bias_).argmax(axis=1)
    weights = group_weights(rows.matrix, table, answers)
    order = sorted(weights, key=lambda name: -weights[name])
    run.text(
        "\n".join(["group\tmean_abs_shap", *(f"{name}\t{weights[name]:.4f}" for name in order)]) + "\n", "groups.tsv"
    )
    run.text(_telling_words(estimator, bagger, bank, labels), "telling_words.tsv")
    run.figure(_picture(weights, order), "shap")
    return weights


def group_weights(matrix: object, table: npt.NDArray[np.float32], answers: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return the mean absolute SHAP value of each group of columns for the answered category."""
    weights = {}
    for name, columns in GROUP_COLUMNS.items():
        scores = np.asarray(matrix[:, columns] @ table[columns])  # type: ignore[index]
        chosen = scores[np.arange(len(scores)), answers] - scores.mean(axis=0)[answers]
        weights[name] = float(np.abs(chosen).mean())
    return weights


def _telling_words(estimator: LinearBag, bagger: Bagger, bank: Bank, labels: Sequence[str]) -> str:
    """Return per category the frequent words that alone raise its logit most above the others' mean."""
    counts = Counter(word for text in bank.parsed.texts for word in set(text.split()))
    words = [word for word, count in counts.most_common(2000) if count >= 5]
    if not words:
        return ""
    from models.budget.labels import OTHER, Parsed

    many = len(words)
    nobody = np.full(many, "")
    alone = Bank(Parsed(np.full(many, OTHER), words), np.full(many, -30.0), np.full(many, 19_800), nobody, nobody)
    matrix = bagger.rows(alone).matrix
    text = GROUP_COLUMNS["text"]
    scores = np.asarray(matrix[:, text] @ estimator.table_[text])
    scores -= scores.mean(axis=1, keepdims=True)
    lines = ["category\twords"]
    for column, position in enumerate(estimator.classes_.tolist()):
        best = np.argsort(-scores[:, column], kind="stable")[:MOST_WORDS]
        lines.append(f"{labels[position]}\t{', '.join(words[at] for at in best)}")
    return "\n".join(lines) + "\n"


def _picture(weights: dict[str, float], order: Sequence[str]) -> Figure:
    figure = Figure(figsize=(6, 0.35 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name in reversed(order)], [weights[name] for name in reversed(order)], color="#4878a8")
    axes.set_xlabel("mean |SHAP value|, natural log-odds of the answer")
    return figure

"""What the linear categorizer goes by: its groups of columns, and the words that speak for a category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from models.budget.categories import GROUP_COLUMNS
from models.budget.labels import OTHER, Parsed
from training.budget.categorizer.estimators import LinearBag
from training.budget.categorizer.vectorizer import Transactions, Vectorizer
from training.calibration import VectorScaling
from training.evaluation.linear_report import log_groups, telling_words
from training.tracking import Run

MOST_ROWS = 1000


def explain(
    run: Run,
    estimator: LinearBag,
    calibration: VectorScaling,
    vectorizer: Vectorizer,
    bank: Transactions,
    labels: Sequence[str],
) -> dict[str, float]:
    """Log a picture and tables; return each group's mean absolute SHAP value, in natural log-odds.

    The value explained is the calibrated logit of the category that the model answers.
    """
    matrix = vectorizer.rows(bank.select(np.arange(min(len(bank), MOST_ROWS)))).matrix
    slope, intercept = (part[estimator.classes_] for part in (calibration.slope, calibration.intercept))
    table = estimator.table_ * slope.astype(np.float32)
    parts = {name: np.asarray(matrix[:, columns] @ table[columns]) for name, columns in GROUP_COLUMNS.items()}
    run.text(_telling_words(estimator, vectorizer, bank, labels), "telling_words.tsv")
    return log_groups(run, parts, estimator.bias_ * slope + intercept)


def _telling_words(estimator: LinearBag, vectorizer: Vectorizer, bank: Transactions, labels: Sequence[str]) -> str:
    counts = Counter(word for text in bank.parsed.texts for word in set(text.split()))
    words = [word for word, count in counts.most_common(2000) if count >= 5]
    if not words:
        return ""
    many = len(words)
    empty = np.full(many, "")
    alone = Transactions(Parsed(np.full(many, OTHER), words), np.full(many, -30.0), np.full(many, 19_800), empty, empty)
    text = GROUP_COLUMNS["text"]
    scores = np.asarray(vectorizer.rows(alone).matrix[:, text] @ estimator.table_[text])
    return telling_words(words, scores, [labels[position] for position in estimator.classes_.tolist()], "category")

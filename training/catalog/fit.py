"""From texts and codes to a classifier: vocabulary, estimator, calibration.

::

    texts ─┬─ folds of whole groups ─> vocabulary, estimator ─> scores of texts that neither had seen ─> calibration
           └─ all ─> vocabulary, estimator: what serves
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from scipy import sparse

from models.catalog.features import Vocabulary
from training.calibration import VectorScaling
from training.catalog.estimators import BoostedProjection, LinearScores
from training.data import near_duplicates, splits
from training.search import Candidate, Found, search
from training.tracking import Run

Estimator = LinearScores | BoostedProjection
Codes = npt.NDArray[np.str_]
Groups = npt.NDArray[np.str_]

SIMILAR: Final = 0.4
"""Jaccard similarity of two products' texts from which they may not be on both sides of a split."""

SIMILAR_DESCRIPTIONS: Final = 0.5
"""The same of their descriptions alone: a shop's series has one description and many titles."""

CALIBRATION_FOLDS: Final = 4

CANDIDATES: Final[Sequence[Candidate]] = (
    Candidate(
        "linear, hinge loss",
        lambda trial: LinearScores(
            "hinge", trial.suggest_float("strength", 0.1, 3, log=True), trial.suggest_float("balance", 0, 1)
        ),
        {"strength": 0.5, "balance": 1.0},
    ),
    Candidate(
        "linear, softmax",
        lambda trial: LinearScores(
            "log", trial.suggest_float("strength", 3, 300, log=True), trial.suggest_float("balance", 0, 1)
        ),
        {"strength": 40.0, "balance": 0.5},
    ),
    Candidate(
        "boosted trees on a projection",
        lambda trial: BoostedProjection(
            trial.suggest_int("dimensions", 16, 192, log=True),
            trial.suggest_int("rounds", 10, 120, log=True),
            trial.suggest_int("depth", 2, 6),
            trial.suggest_float("rate", 0.05, 0.5, log=True),
        ),
        {"dimensions": 48, "rounds": 12, "depth": 4, "rate": 0.3},
    ),
)


@dataclass(frozen=True)
class Classifier:
    """What answers.

    Attributes
    ----------
    vocabulary, estimator, calibration
        Texts to rows, rows to scores, scores to probabilities.
    labels
        The codes, in the order of the probabilities.
    """

    vocabulary: Vocabulary
    estimator: Estimator
    calibration: VectorScaling
    labels: tuple[str, ...]

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of each code, [N, codes]."""
        return self.calibration(
            scores(self.estimator, matrix(self.vocabulary.bag(texts), self.vocabulary), self.labels)
        )


def families(texts: Sequence[str], descriptions: Sequence[str]) -> Groups:
    """Return the near-duplicate group of each product, str [N]: what must not be on both sides of a split.

    Parameters
    ----------
    texts, descriptions
        Of N products, both without markup.
    """
    groups = near_duplicates.united(
        near_duplicates.groups(texts, SIMILAR), near_duplicates.groups(descriptions, SIMILAR_DESCRIPTIONS)
    )
    return groups.astype(str)


def fit(texts: Sequence[str], codes: Codes, groups: Groups, estimator: Estimator) -> Classifier:
    """Fit an estimator on products, and calibrate it on what it says of products it has not seen.

    Parameters
    ----------
    texts, codes
        Of N products.
    groups
        Their families.
    estimator
        Not fitted.
    """
    from sklearn.base import clone

    labels = in_order(codes)
    target = np.array([labels.index(code) for code in codes.tolist()], np.int64)

    def fitted(learned: splits.Indices) -> tuple[Vocabulary, Estimator]:
        mine = [texts[at] for at in learned.tolist()]
        vocabulary = Vocabulary.fit(mine)
        return vocabulary, clone(estimator).fit(matrix(vocabulary.bag(mine), vocabulary), codes[learned])

    unseen = np.empty((len(texts), len(labels)))
    for train, test in splits.folds(groups, min(CALIBRATION_FOLDS, len(np.unique(groups)))):
        vocabulary, part = fitted(train)  # a vocabulary that had seen the test texts would make them look familiar
        bag = vocabulary.bag([texts[at] for at in test.tolist()])
        unseen[test] = scores(part, matrix(bag, vocabulary), labels)
    calibration = VectorScaling.fit(unseen, target)
    return Classifier(*fitted(np.arange(len(texts))), calibration, labels)


def compare(
    texts: Sequence[str],
    codes: Codes,
    groups: Groups,
    *,
    trials: int,
    budget_s: float,
    folds: int = 2,
    run: Run | None = None,
    console: Console | None = None,
    seed: int = 0,
) -> Found:
    """Compare and search the kinds of estimator by weighted F1, on families they have not seen."""
    from sklearn.metrics import f1_score

    vocabulary = Vocabulary.fit(texts)
    return search(
        CANDIDATES,
        matrix(vocabulary.bag(texts), vocabulary),
        codes,
        splits.folds(groups, folds, seed),
        lambda fitted, rows, truth: float(f1_score(truth, fitted.predict(rows), average="weighted", zero_division=0)),
        trials=trials,
        budget_s=budget_s,
        run=run,
        console=console,
        seed=seed,
    )


def scores(estimator: Estimator, rows: Any, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the scores of all labels, [N, labels]; of one that the estimator has never seen, below all others."""
    known = estimator.decision_function(rows)
    found = np.full((len(known), len(labels)), known.min(initial=0.0) - 1)
    found[:, [labels.index(code) for code in estimator.classes_.tolist()]] = known
    return found


def matrix(bag: tuple[Any, Any, Any], vocabulary: Vocabulary) -> Any:
    """Return a bag as float32 CSR [N, vocabulary]."""
    offsets, rows, weights = bag
    found = sparse.csr_matrix((weights, rows, offsets), shape=(len(offsets) - 1, vocabulary.size), dtype=np.float32)
    found.sum_duplicates()
    return found


def in_order(codes: Codes) -> tuple[str, ...]:
    """Return the distinct codes, by their number."""
    return tuple(sorted(set(codes.tolist()), key=lambda code: (len(code), code)))

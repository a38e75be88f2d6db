"""Few labels: what is known of a few transactions, what rules and synthesis add, and what a model then dares to guess.

::

    tags (0.8 %) ─ same words ─┐
    rules that are sure ───────┼─> weak labels, each with a weight ─ model ─ what it is sure of ─> more of them
    synthetic accounts ────────┘

Weak supervision as in Ratner et al. (Snorkel, 2017) with fixed weights in place of a label model; the last step is
self-training (Yarowsky, 1995). What is guessed teaches; it is never tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.budget.rules import RuleSet
from training.budget.categorizer.estimators import LinearBag
from training.budget.categorizer.metrics import by_rules
from training.budget.categorizer.rules_report import SURE
from training.budget.categorizer.vectorizer import Transactions, Vectorizer

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = -1


@dataclass(frozen=True)
class Trust:
    """How much a label counts by where it comes from; 0 leaves the source out.

    Attributes
    ----------
    tag
        Given by a user.
    same
        Of a transaction with the same cleaned words and sign as a tagged one.
    rule
        By a rule of at least `SURE` confidence.
    synthetic
        Of a generated transaction.
    guess
        By a model trained on all that, where it gives at least `least`; 0, for it was measured to add nothing.
    """

    tag: float = 5.0
    same: float = 1.0
    rule: float = 1.0
    synthetic: float = 0.3
    guess: float = 0.0
    least: float = 0.95


@dataclass(frozen=True)
class Weak:
    """Labels of a bank's transactions: positions, `UNKNOWN` where nothing is known, int64 [N]; weights float64 [N]."""

    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


def weak_labels(
    bank: Transactions, tags: npt.NDArray[np.int64], rules: RuleSet, labels: Sequence[str], trust: Trust = Trust()
) -> Weak:
    """Label what tags, their words and sure rules can.

    Parameters
    ----------
    bank
        The transactions, N of them.
    tags
        Their labels, `UNKNOWN` where no source gave one, int64 [N].
    rules
        Those of labels that are not among `labels` are not heard.
    labels
        The categories.
    """
    found = np.full(len(bank), UNKNOWN, np.int64)
    weights = np.zeros(len(bank))
    known = RuleSet(rule for rule in rules.rules if rule.category in labels)
    said, confidence = by_rules(known, bank, labels)
    same = _same_words(bank, tags)
    for source, weight, where in (
        (said, trust.rule, confidence >= SURE),
        (same, trust.same, same != UNKNOWN),  # what people say of a shop goes before rules, and a tag before all
        (tags, trust.tag, tags != UNKNOWN),
    ):
        if weight > 0:
            found[where], weights[where] = source[where], weight
    return Weak(found, weights)


def _same_words(bank: Transactions, tags: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Spread tags to transactions of the same words and sign, where all tags of those agree."""
    keys = list(zip(bank.parsed.texts, (bank.amounts > 0).tolist(), strict=True))
    agreed: dict[tuple[str, bool], int] = {}
    for at in np.flatnonzero(tags != UNKNOWN).tolist():
        if keys[at][0]:
            before = agreed.get(keys[at], int(tags[at]))
            agreed[keys[at]] = int(tags[at]) if before == int(tags[at]) else UNKNOWN
    return np.array([agreed.get(key, UNKNOWN) for key in keys], np.int64)


def learn(
    bank: Transactions,
    weak: Weak,
    extra: Transactions | None = None,
    extra_labels: npt.NDArray[np.int64] | None = None,
    trust: Trust = Trust(),
) -> tuple[Vectorizer, LinearBag, Weak]:
    """Fit a model on weak labels and synthetic transactions; let it guess, and fit it again on its sure guesses.

    Returns
    -------
    vectorizer, model, weak
        The last with the guesses.
    """
    vectorizer = Vectorizer.fit(bank)
    model = _fit(vectorizer, bank, weak, extra, extra_labels, trust)
    if trust.guess > 0:
        open_ = np.flatnonzero(weak.labels == UNKNOWN)
        if len(open_):
            probabilities = model.predict_proba(vectorizer.rows(bank.select(open_)))
            sure = probabilities.max(axis=1) >= trust.least
            labels, weights = weak.labels.copy(), weak.weights.copy()
            labels[open_[sure]] = model.classes_[probabilities.argmax(axis=1)[sure]]
            weights[open_[sure]] = trust.guess
            weak = Weak(labels, weights)
            model = _fit(vectorizer, bank, weak, extra, extra_labels, trust)
    return vectorizer, model, weak


def _fit(
    vectorizer: Vectorizer,
    bank: Transactions,
    weak: Weak,
    extra: Transactions | None,
    extra_labels: npt.NDArray[np.int64] | None,
    trust: Trust,
) -> LinearBag:
    from scipy import sparse

    known = np.flatnonzero(weak.labels != UNKNOWN)
    rows, labels, weights = vectorizer.rows(bank.select(known)), weak.labels[known], weak.weights[known]
    if extra is not None and extra_labels is not None and trust.synthetic > 0:
        more = vectorizer.rows(extra)
        rows = type(rows)(sparse.vstack([rows.matrix, more.matrix]).tocsr(), np.concatenate([rows.users, more.users]))
        labels = np.concatenate([labels, extra_labels])
        weights = np.concatenate([weights, np.full(len(extra), trust.synthetic)])
    return LinearBag().fit(rows, labels, weights)


def completed(frame: pd.DataFrame, rules: RuleSet, extra: pd.DataFrame, trust: Trust = Trust()) -> pd.DataFrame:
    """Return a table all of whose transactions have a category, a `weight`, and whether they were `tagged`.

    Parameters
    ----------
    frame
        Transactions; category "" where none was given. What nothing is known of is left out.
    rules
        Heard where they are sure.
    extra
        Synthetic transactions; their users are renamed, so that they are no user's.
    """
    import pandas as pd

    tagged = (frame["category"] != "").to_numpy()
    labels = sorted(set(frame["category"][tagged]) | set(extra["category"]))
    tags = np.where(tagged, np.searchsorted(labels, frame["category"].to_numpy().astype(str)), UNKNOWN)
    bank, more = Transactions.of(frame), Transactions.of(extra)
    extra_labels = np.searchsorted(labels, extra["category"].to_numpy().astype(str))
    *_, weak = learn(bank, weak_labels(bank, tags, rules, labels, trust), more, extra_labels, trust)
    known = weak.labels != UNKNOWN
    own = frame[known].assign(
        category=np.array(labels, dtype=object)[weak.labels[known]], weight=weak.weights[known], tagged=tagged[known]
    )
    synthetic = extra.assign(user="synthetic-" + extra["user"].astype(str), weight=trust.synthetic, tagged=False)
    columns = [column for column in own.columns if column in synthetic.columns]
    return pd.concat([own[columns], synthetic[columns]], ignore_index=True)


def worth_asking(
    bank: Transactions, probabilities: npt.NDArray[Any], known: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.int64]:
    """Return which transactions to have tagged: active learning by uncertainty, weighed with how often words recur.

    Parameters
    ----------
    bank
        N transactions.
    probabilities
        A model's, [N, C].
    known
        Which need no tag, such as those a sure rule answers, [N].
    count
        How many to ask for; one per cleaned text.
    """
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    doubt = np.where(known, 0.0, 1 - (first - second))  # by the margin (Scheffer et al., 2001)
    gain: dict[str, float] = {}
    place: dict[str, int] = {}
    for at, (text, value) in enumerate(zip(bank.parsed.texts, doubt.tolist(), strict=True)):
        gain[text] = gain.get(text, 0.0) + value
        place.setdefault(text, at)
    best = sorted(gain, key=lambda text: (-gain[text], text))[:count]
    return np.array(sorted(place[text] for text in best), np.int64)

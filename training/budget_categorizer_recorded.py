"""The categorizer on recorded card payments, beside plain baselines, on times and on cards that neither has seen.

Recorded are corporate purchase cards, in English: a stand-in for household accounts. The French rules say nothing of
them, so the model answers alone. The label depends on who pays as much as on who is paid.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from training.budget_bags import Bagger, Bank
from training.budget_estimators import LinearBag
from training.data import splits
from training.data.splits import Indices

if TYPE_CHECKING:
    import pandas as pd

ITERATIONS = 100
"""Of the linear model: there is more to learn than in generated accounts, and 40 leave rare categories behind."""

Answer = Callable[["pd.DataFrame", npt.NDArray[Any], "pd.DataFrame"], npt.NDArray[Any]]
"""Transactions to learn from, their categories, and transactions to answer, to the answers' categories."""


@dataclass(frozen=True)
class Score:
    """What one way to answer made of one fold; seen and unseen are merchants of the training part."""

    name: str
    accuracy: float
    macro_f1: float
    seen: float
    unseen: float


def tfidf(text: Callable[[pd.DataFrame], pd.Series]) -> Answer:
    """Return the plain baseline: TF-IDF of words and logistic regression on a text."""

    def answer(past: pd.DataFrame, truth: npt.NDArray[Any], new: pd.DataFrame) -> npt.NDArray[Any]:
        words = TfidfVectorizer(min_df=2, sublinear_tf=True)
        model = LogisticRegression(C=5.0, max_iter=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(words.fit_transform(text(past)), truth)
        answers: npt.NDArray[Any] = model.predict(words.transform(text(new)))
        return answers

    return answer


def ours(known: bool) -> Answer:
    """Return the categorizer's linear model; `known` says whether it may know account and user."""

    def answer(past: pd.DataFrame, truth: npt.NDArray[Any], new: pd.DataFrame) -> npt.NDArray[Any]:
        before, after = Bank.of(past), Bank.of(new)
        if not known:
            before, after = before.anonymous(), after.anonymous()
        bagger = Bagger.fit(before)
        return LinearBag(iterations=ITERATIONS).fit(bagger.rows(before), truth).predict(bagger.rows(after))

    return answer


WAYS: dict[str, Answer] = {
    "TF-IDF + logistic, merchant": tfidf(lambda frame: frame["label"]),
    "TF-IDF + logistic, merchant and unit": tfidf(lambda frame: frame["label"] + " " + frame["account"]),
    "budget_categorizer's model, label, amount, date": ours(known=False),
    "... and account (the unit) and user (the card)": ours(known=True),
}


def cross_validate(
    frame: pd.DataFrame,
    folds: Sequence[tuple[Indices, Indices]],
    most: int,
    console: Console,
    ways: Sequence[str] = tuple(WAYS),
) -> list[Score]:
    """Score every way to answer on every fold.

    Parameters
    ----------
    frame
        As `training.data.budget_recorded.read` gives it.
    folds
        Positions to learn from and to be tested on.
    most
        Rows to learn from at most, the last ones.
    console
        Where each score is shown.
    ways
        Which of `WAYS`.
    """
    truth = frame["category"].to_numpy().astype(str)
    scores = []
    for number, (train, test) in enumerate(folds, 1):
        past, new = frame.iloc[train[-most:]], frame.iloc[test]
        seen = new["label"].isin(set(past["label"])).to_numpy()
        for name in ways:
            answers = WAYS[name](past, truth[train[-most:]], new)
            score = _score(name, answers, truth[test], seen)
            scores.append(score)
            console.print(
                f"fold {number}/{len(folds)}, {len(past)} rows learned, {len(new)} tested, {seen.mean():.0%} of seen "
                f"merchants: {name}: accuracy {score.accuracy:.3f}, macro-F1 {score.macro_f1:.3f}",
                highlight=False,
            )
    return scores


def by_time(frame: pd.DataFrame, count: int) -> list[tuple[Indices, Indices]]:
    """Return rolling-origin folds: what came next is answered from what came before."""
    return splits.by_time(frame["date"].to_numpy(), count)


def by_card(frame: pd.DataFrame, count: int) -> list[tuple[Indices, Indices]]:
    """Return folds of whole cards."""
    return splits.folds(frame["user"].to_numpy().astype(str), count)


def markdown(scores: Sequence[Score]) -> str:
    """Return means over folds as a table."""
    lines = ["| | accuracy | macro-F1 | seen merchants | unseen |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(score.name for score in scores):
        mine = [score for score in scores if score.name == name]
        means = [
            float(np.mean([getattr(one, of) for one in mine])) for of in ("accuracy", "macro_f1", "seen", "unseen")
        ]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def _score(name: str, answers: npt.NDArray[Any], truth: npt.NDArray[Any], seen: npt.NDArray[np.bool_]) -> Score:
    right = answers == truth
    macro = f1_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)
    parts = [float(right[part].mean()) if part.any() else float("nan") for part in (seen, ~seen)]
    return Score(name, float(right.mean()), float(macro), *parts)

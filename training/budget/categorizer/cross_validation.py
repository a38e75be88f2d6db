"""The categorizer on recorded card payments, beside plain baselines, on times and on cards that neither has seen.

Recorded are corporate purchase cards, in English: a stand-in for household accounts. The French rules say nothing of
them, so the model answers alone, with the settings that the command would choose and by the same fit. The label depends
on who pays as much as on who is paid.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from models.budget.rules import RuleSet
from training.budget.categorizer.fit import Examples, choose, fit
from training.budget.categorizer.recipe import Options
from training.budget.categorizer.vectorizer import Transactions
from training.data import splits
from training.data.splits import Indices
from training.evaluation.reliability import calibration_error, first_choice

if TYPE_CHECKING:
    import pandas as pd

Answer = Callable[["pd.DataFrame", "pd.DataFrame", Sequence[str]], npt.NDArray[np.float64]]
"""Transactions to learn from, those to answer, and all categories, to the latter's probabilities, [N, categories]."""


@dataclass(frozen=True)
class Score:
    """What one way to answer made of one fold; seen and unseen are merchants of the training part, as accuracy."""

    name: str
    accuracy: float
    macro_f1: float
    seen: float
    unseen: float
    calibration_error: float


def tfidf(text: Callable[[pd.DataFrame], pd.Series]) -> Answer:
    """Return the plain baseline: TF-IDF of words and logistic regression on a text."""

    def answer(past: pd.DataFrame, new: pd.DataFrame, labels: Sequence[str]) -> npt.NDArray[np.float64]:
        words = TfidfVectorizer(min_df=2, sublinear_tf=True)
        model = LogisticRegression(C=5.0, max_iter=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(words.fit_transform(text(past)), past["category"].to_numpy().astype(str))
        probabilities = np.zeros((len(new), len(labels)))
        probabilities[:, np.searchsorted(labels, model.classes_)] = model.predict_proba(words.transform(text(new)))
        return probabilities

    return answer


def ours(known: bool) -> Answer:
    """Return the categorizer's model as the command makes it; `known` says whether it may know account and user."""
    usual = Options()

    def answer(past: pd.DataFrame, new: pd.DataFrame, labels: Sequence[str]) -> npt.NDArray[np.float64]:
        rows = past.assign(weight=1.0, tagged=True, group=past["user"])
        examples, asked = Examples.of(rows, RuleSet(()), labels), Transactions.of(new)
        if not known:
            examples, asked = replace(examples, bank=examples.bank.anonymous()), asked.anonymous()
        settings = choose(examples, usual.estimators, trials=usual.trials, budget_s=usual.budget_s, seed=usual.seed)
        return fit(examples, settings, usual.seed).probabilities(asked)

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
        As `training.budget.recorded.read` gives it.
    folds
        Positions to learn from and to be tested on.
    most
        Rows to learn from at most, the last ones.
    console
        Where each score is shown.
    ways
        Which of `WAYS`.
    """
    labels, truth = np.unique(frame["category"].to_numpy().astype(str), return_inverse=True)
    scores = []
    for number, (train, test) in enumerate(folds, 1):
        past, new = frame.iloc[train[-most:]], frame.iloc[test]
        seen = new["label"].isin(set(past["label"])).to_numpy()
        for name in ways:
            score = _score(name, WAYS[name](past, new, labels.tolist()), truth[test], seen)
            scores.append(score)
            console.print(
                f"fold {number}/{len(folds)}, {len(past)} rows learned, {len(new)} tested, {seen.mean():.0%} of seen "
                f"merchants: {name}: accuracy {score.accuracy:.3f}, macro-F1 {score.macro_f1:.3f}, calibration error "
                f"{score.calibration_error:.3f}",
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
    lines = ["| | accuracy | macro-F1 | seen merchants | unseen | calibration error |", "|---|---|---|---|---|---|"]
    columns = ("accuracy", "macro_f1", "seen", "unseen", "calibration_error")
    for name in dict.fromkeys(score.name for score in scores):
        mine = [score for score in scores if score.name == name]
        means = [float(np.mean([getattr(one, of) for one in mine])) for of in columns]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def _score(
    name: str, probabilities: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], seen: npt.NDArray[np.bool_]
) -> Score:
    answers = probabilities.argmax(axis=1)
    right = answers == truth
    macro = f1_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)
    known, new = (float(right[part].mean()) if part.any() else float("nan") for part in (seen, ~seen))
    return Score(
        name, float(right.mean()), float(macro), known, new, calibration_error(*first_choice(probabilities, truth))
    )

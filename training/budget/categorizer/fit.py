"""Fitting the categorizer: to all rows, with calibration and sureness by answers to rows that the fit has not seen.

::

    rows ─┬─ thirds of the owners, each answered by a fit to the others ──────────> one slope for the logits ─┬─> model
          ├─ ninths of owners x merchants, answered by fits that met neither ─────> threshold ────────────────┤
          └─ all, the old ones perhaps for less ──────────────────────────────────> vectorizer, estimator ────┘

The command, the comparison on recorded payments and what ships all go through here, with the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sklearn.base import clone

from models.budget.labels import find_nameless
from models.budget.rules import RuleSet
from training.budget.categorizer.dataset import LEAST_GROUPS
from training.budget.categorizer.estimators import NEVER, LinearBag, StackedTrees
from training.budget.categorizer.metrics import by_rules
from training.budget.categorizer.rules_report import SURE
from training.budget.categorizer.sureness import Sureness, answer_unmet
from training.budget.categorizer.sureness import choose as choose_threshold
from training.budget.categorizer.vectorizer import SparseRows, Transactions, Vectorizer
from training.calibration import VectorScaling
from training.data import splits
from training.data.splits import Indices
from training.search import Candidate, Found, search
from training.tracking import Run

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

SEARCHED: Final = 4000
"""Rows that candidates are compared on; the winner is then fitted on all."""

LEAST_COMPARED: Final = 500
"""Rows from which on kinds of estimators are compared."""

FOLDS: Final = 3
"""Parts of the owners; each is answered by a fit that has not seen them."""

MOST_ANSWERED: Final = 30_000
"""Rows that calibrate and that the threshold is chosen on: twelve models are fitted on about half of them each."""

HALF_LIVES: Final = (0, 24, 12, 6)
"""Months after which a row counts half, that are compared; 0 for all alike."""

LONG_MONTHS: Final = 18
"""How far rows must reach back for that to be compared."""

MOST_RECENT: Final = 10_000
"""Rows of each origin that half-lives are compared on; 4,000 later ones are answered."""

MOST_ASKED: Final = 4_000

MONTH_DAYS: Final = 30.44

LEAST: Final = 1e-6
"""Least probability of trees, for it has to have a logarithm."""

CANDIDATES: Final[Sequence[Candidate]] = (
    Candidate(
        "linear",
        lambda trial: LinearBag(
            trial.suggest_float("strength", 0.3, 30, log=True), trial.suggest_int("iterations", 40, 200)
        ),
        LinearBag().get_params(),
    ),
    Candidate(
        "random forest on linear",
        lambda trial: StackedTrees("forest", trial.suggest_int("trees", 20, 200)),
        {"trees": 30},
    ),
    Candidate(
        "boosted trees on linear",
        lambda trial: StackedTrees("boosted", trial.suggest_int("trees", 10, 60), trial.suggest_int("depth", 2, 6)),
        {"trees": 10, "depth": 3},
    ),
)


@dataclass(frozen=True)
class Examples:
    """N transactions to learn from.

    Attributes
    ----------
    bank
        The transactions.
    target, count
        Their categories, int64 [N], and how many categories there are.
    weight
        How much each counts, float64 [N].
    groups, merchants
        Who paid, or what else must not be on both sides of a split; and who was paid, str [N].
    tagged, modelled
        Bool [N]: whose category is known for certain, and which of those only the model can answer: no rule is sure of
        them, and the label names someone.
    """

    bank: Transactions
    target: npt.NDArray[np.int64]
    count: int
    weight: Floats
    groups: npt.NDArray[np.str_]
    merchants: npt.NDArray[np.str_]
    tagged: npt.NDArray[np.bool_]
    modelled: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, frame: pd.DataFrame, rules: RuleSet, labels: Sequence[str]) -> Examples:
        """Return a table's transactions, as `training.budget.categorizer.dataset.load` gives it."""
        bank = Transactions.of(frame)
        _, trusted = by_rules(rules, bank, labels)
        tagged = frame["tagged"].to_numpy().astype(bool)
        return cls(
            bank,
            np.searchsorted(labels, frame["category"].to_numpy().astype(str)),
            len(labels),
            frame["weight"].to_numpy(np.float64),
            frame["group"].to_numpy().astype(str),
            merchants_of(frame, bank),
            tagged,
            tagged & (trusted < SURE) & ~find_nameless(bank.parsed.texts),
        )

    def __len__(self) -> int:
        return len(self.bank)

    def select(self, rows: npt.NDArray[Any]) -> Examples:
        """Return some of them, by position or by a mask."""
        arrays = (self.weight, self.groups, self.merchants, self.tagged, self.modelled)
        return Examples(self.bank.select(rows), self.target[rows], self.count, *(array[rows] for array in arrays))

    def sample(self, most: int, seed: int) -> Examples:
        """Return some of them, at random and in their order."""
        return self.select(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))


@dataclass(frozen=True)
class Settings:
    """How to fit: an estimator, not fitted, and the months after which a row counts half, 0 for all alike."""

    estimator: LinearBag | StackedTrees
    half_life: int = 0


@dataclass(frozen=True)
class Model:
    """A fitted estimator with what its rows are made by, and what calibrates its logits of `count` categories."""

    estimator: LinearBag | StackedTrees
    vectorizer: Vectorizer
    calibration: VectorScaling
    count: int

    def logits(self, bank: Transactions) -> Floats:
        """Return logits before calibration, [N, categories]."""
        return logits_of(self.estimator, self.vectorizer.rows(bank), self.count)

    def probabilities(self, bank: Transactions) -> Floats:
        """Return calibrated probabilities of every category, [N, categories]."""
        return self.calibration(self.logits(bank))


def fit(examples: Examples, settings: Settings, seed: int = 0) -> Model:
    """Fit to all rows; calibrate by answers to owners that the answering fit has not seen.

    Parameters
    ----------
    examples
        Of at least two groups of tagged rows.
    settings
        By `choose`.
    seed
        Divides the owners.
    """
    some = examples.sample(MOST_ANSWERED, seed)
    rows, logits = [], []
    for learned, held in splits.folds(some.groups, min(FOLDS, len(np.unique(some.groups))), seed):
        rows.append(held[some.tagged[held]])
        logits.append(_answer(some, settings, learned, rows[-1]))
    # A slope per category makes the model surest where merchants are new of what it is worst at.
    calibration = VectorScaling.fit_temperature(np.concatenate(logits), some.target[np.concatenate(rows)])
    return Model(*_learn(examples, settings), calibration, examples.count)


def choose_sureness(
    calibration: VectorScaling, examples: Examples, settings: Settings, precision: float, seed: int = 0
) -> Sureness:
    """Choose from where on the model is sure, by answers to merchants and owners that the answering fit has not met.

    Parameters
    ----------
    calibration
        Of `fit`, to the same rows.
    examples, settings, seed
        As of `fit`.
    precision
        Share of the sure answers that are to be right.
    """
    some = examples.sample(MOST_ANSWERED, seed)
    unmet, logits = answer_unmet(
        lambda learned, asked: _answer(some, settings, learned, asked),
        some.merchants, some.groups, some.modelled, some.count, seed,
    )  # fmt: skip
    return choose_threshold(calibration(logits), some.target[unmet], some.merchants[unmet], precision)


def choose(
    examples: Examples,
    names: Sequence[str],
    *,
    trials: int,
    budget_s: float = 600.0,
    seed: int = 0,
    run: Run | None = None,
    console: Console | None = None,
) -> Settings:
    """Return the settings to fit with: the kind of estimator, by a search on unseen owners, and the half-life of rows.

    Parameters
    ----------
    examples
        To choose by.
    names
        Of `CANDIDATES`, those to compare; linear alone where rows are few.
    trials, budget_s, seed, run, console
        As of `training.search.search`; without trials linear is taken, and all rows alike.
    """
    console = console or Console(quiet=True)
    if not trials:
        return Settings(LinearBag())
    some = examples.sample(SEARCHED, seed)
    estimator: LinearBag | StackedTrees = LinearBag()
    if len(some) < LEAST_COMPARED or len(np.unique(some.groups)) < LEAST_GROUPS:
        console.print(f"{len(some)} rows are too few to compare estimators: linear", highlight=False)
    else:
        found = _compare(some, names, trials=trials, budget_s=budget_s, seed=seed, run=run, console=console)
        console.print(found.markdown(), highlight=False)
        if run is not None:
            run.text(found.markdown(), "estimators.md")
        estimator = found.estimator
    scores = compare_half_lives(examples, estimator, seed)
    if scores:
        said = ", ".join(f"{months or 'none'} {score:.4f}" for months, score in scores.items())
        console.print(f"half-life in months, accuracy on later rows: {said}", highlight=False)
        if run is not None:
            run.text(said + "\n", "half_life.txt")
    return Settings(estimator, max(scores, key=lambda months: scores[months], default=0))


def compare_half_lives(examples: Examples, estimator: LinearBag | StackedTrees, seed: int = 0) -> dict[int, float]:
    """Return what each half-life scores on rolling origins: fitted to earlier rows, asked of later ones.

    Returns
    -------
    dict of int to float
        Of `HALF_LIVES`, the mean accuracy; nothing where rows do not reach far enough back.
    """
    days = examples.bank.days
    if np.ptp(days[examples.tagged]) <= LONG_MONTHS * MONTH_DAYS:
        return {}
    rng, scores = np.random.default_rng(seed), dict.fromkeys(HALF_LIVES, 0.0)
    origins = splits.by_time(days, 2)
    for earlier, later in origins:
        learned = np.sort(rng.permutation(earlier)[:MOST_RECENT])
        asked = np.sort(rng.permutation(later[examples.tagged[later]])[:MOST_ASKED])
        for months in HALF_LIVES:
            answers = _answer(examples, Settings(estimator, months), learned, asked).argmax(axis=1)
            scores[months] += float((answers == examples.target[asked]).mean()) / len(origins)
    return scores


def merchants_of(frame: pd.DataFrame, bank: Transactions) -> npt.NDArray[Any]:
    """Return who was paid, as far as it is known: the merchant's name, or else what the label says, str [N]."""
    texts = np.array(bank.parsed.texts, dtype=object)
    names = frame["merchant"].to_numpy().astype(object) if "merchant" in frame else texts
    return np.where(names == "", texts, names).astype(str)


def logits_of(estimator: LinearBag | StackedTrees, rows: SparseRows, count: int) -> Floats:
    """Return logits of all `count` labels, [N, count]; `NEVER` where the estimator has never seen one."""
    logits = np.full((len(rows), count), NEVER)
    if isinstance(estimator, LinearBag):
        logits[:, estimator.classes_] = estimator.decision_function(rows)
    else:
        logits[:, estimator.classes_] = np.log(np.maximum(estimator.predict_proba(rows), LEAST))
    return logits


def _learn(examples: Examples, settings: Settings) -> tuple[LinearBag | StackedTrees, Vectorizer]:
    """Fit vectorizer and estimator, with rows worth less the older they are."""
    vectorizer = Vectorizer.fit(examples.bank)
    rows = SparseRows(vectorizer.rows(examples.bank).matrix, examples.groups)
    weight = examples.weight
    if settings.half_life:
        age = (examples.bank.days.max() - examples.bank.days) / MONTH_DAYS
        recent = 0.5 ** (age / settings.half_life)
        weight = weight * recent / recent.mean()  # of mean 1, so that the ridge penalty weighs as before
    return clone(settings.estimator).fit(rows, examples.target, weight), vectorizer


def _answer(examples: Examples, settings: Settings, learned: Indices, asked: Indices) -> Floats:
    """Return the logits of rows by a fit to others, [asked, categories]."""
    estimator, vectorizer = _learn(examples.select(learned), settings)
    return logits_of(estimator, vectorizer.rows(examples.bank.select(asked)), examples.count)


def _compare(
    some: Examples, names: Sequence[str], *, trials: int, budget_s: float, seed: int, run: Run | None, console: Console
) -> Found:
    rows = SparseRows(Vectorizer.fit(some.bank).rows(some.bank).matrix, some.groups)
    return search(
        [candidate for candidate in CANDIDATES if candidate.name in names],
        rows,
        some.target,
        splits.folds(some.groups, 2, seed),
        lambda fitted, asked, truth: float((fitted.predict(asked) == truth).mean()),
        trials=trials,
        budget_s=budget_s,
        run=run,
        console=console,
        seed=seed,
    )

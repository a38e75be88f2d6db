"""How far few labels go: rules alone, tags alone, and both with synthesis, guesses and well-chosen questions.

    python -m training.budget.categorizer.few_labels                       # 0.8 % tagged, 30 households: about a minute
    python -m training.budget.categorizer.few_labels --share 0.02 --users 60 --seed 3

The households whose labels are few live in another world than the synthetic ones: other local shops, other brands. All
are tested on users of the same world that no training has seen; where nothing answers, that is an error. Prints the
table of docs/families/budget.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sklearn.metrics import f1_score

from models.budget.hybrid import decide
from models.budget.labels import find_nameless
from models.budget.rules import RuleSet
from training.budget.categorizer import rules as budget_rules
from training.budget.categorizer.estimators import LinearBag
from training.budget.categorizer.metrics import by_rules
from training.budget.categorizer.rules_report import SURE
from training.budget.categorizer.vectorizer import Transactions
from training.budget.categorizer.weak_supervision import UNKNOWN, Trust, learn, weak_labels, worth_asking
from training.budget.synthetic.accounts import CATEGORIES, Synthesis, generate

NOTHING = Trust(tag=0, same=0, rule=0, synthetic=0, guess=0)


def main(argv: list[str] | None = None) -> int:
    """Print the table, on generated accounts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.008, help="of the transactions tagged (default: %(default)s)")
    parser.add_argument("--users", type=int, default=30, help="households to learn from (default: %(default)s)")
    parser.add_argument("--months", type=int, default=12, help="of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    outcomes = compare(
        arguments.users,
        arguments.months,
        arguments.share,
        arguments.seed,
        console=Console(stderr=True, highlight=False),
    )
    print(markdown(outcomes))
    return 0


@dataclass(frozen=True)
class Outcome:
    """One way to learn: accuracy and macro-F1 of its answers, and of the hybrid with rules first."""

    name: str
    labels: int
    accuracy: float
    macro_f1: float
    hybrid_accuracy: float


def compare(
    users: int = 30, months: int = 12, share: float = 0.008, seed: int = 0, *, console: Console
) -> list[Outcome]:
    """Compare ways to learn from few labels.

    Parameters
    ----------
    users, months
        Households whose transactions are known, and for how long; a third as many are tested.
    share
        Of their transactions that are tagged.
    seed
        Of the households and of the choice of tags.
    console
        Where each outcome is shown.
    """
    rules = budget_rules.read(categories=CATEGORIES)
    world = generate(Synthesis(users + users // 3, months, seed=seed + 100, world=1))
    bank, truth = Transactions.of(world), np.searchsorted(CATEGORIES, world["category"].to_numpy().astype(str))
    test = (world["user"] >= f"user-{users:04d}").to_numpy()
    here, there = bank.select(~test), bank.select(test)
    mine, asked = truth[~test], truth[test]
    synthetic = generate(Synthesis(users, months, seed=seed))
    extra = Transactions.of(synthetic), np.searchsorted(CATEGORIES, synthetic["category"].to_numpy().astype(str))
    count = round(share * len(here))
    at_random = np.sort(np.random.default_rng(seed).choice(len(here), count, replace=False))
    judge = _Judge(rules, there, asked, console)
    judge.rules_alone()
    tags = _tags(mine, at_random)
    judge(f"{share:.1%} tagged at random", here, tags, replace(NOTHING, tag=1.0))
    judge("... and the same words", here, tags, replace(NOTHING, tag=5.0, same=1.0))
    judge("... and sure rules", here, tags, replace(NOTHING, tag=5.0, same=1.0, rule=1.0))
    judge("synthesis alone", here, _tags(mine, at_random[:0]), replace(NOTHING, synthetic=1.0), extra)
    judge("tags, rules and synthesis", here, tags, Trust(), extra)
    judge("... and sure guesses", here, tags, replace(Trust(), guess=0.3), extra)
    # Who asks has seen no tag: rules and synthesis say where they are in doubt.
    judge("rules and synthesis, no tags", here, _tags(mine, at_random[:0]), Trust(), extra)
    first, vectorizer = judge.last
    _, confidence = by_rules(rules, here, CATEGORIES)
    probabilities = np.zeros((len(here), len(CATEGORIES)))
    probabilities[:, first.classes_] = first.predict_proba(vectorizer.rows(here))
    chosen = worth_asking(here, probabilities, confidence >= SURE, count)
    judge("as many tags, asked for by that model", here, _tags(mine, chosen), Trust(), extra)
    judge("everything tagged", here, mine, replace(NOTHING, tag=1.0))
    return judge.outcomes


def markdown(outcomes: list[Outcome]) -> str:
    """Return outcomes as a table."""
    lines = ["| learns from | tags | accuracy | macro-F1 | with rules first |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.labels} | {one.accuracy:.3f} | {one.macro_f1:.3f} | {one.hybrid_accuracy:.3f} |"
        for one in outcomes
    ]
    return "\n".join(lines)


class _Judge:
    def __init__(self, rules: RuleSet, bank: Transactions, truth: npt.NDArray[np.int64], console: Console) -> None:
        self.outcomes: list[Outcome] = []
        self.last: tuple[LinearBag, Any]
        self._rules, self._bank, self._truth, self._console = rules, bank, truth, console
        self._said, self._confidence = by_rules(rules, bank, CATEGORIES)
        self._nameless = find_nameless(bank.parsed.texts)

    def rules_alone(self) -> None:
        self._add("rules alone", 0, self._said, self._said)

    def __call__(
        self,
        name: str,
        here: Transactions,
        tags: npt.NDArray[np.int64],
        trust: Trust,
        extra: tuple[Transactions, npt.NDArray[np.int64]] | None = None,
    ) -> None:
        weak = weak_labels(here, tags, self._rules, CATEGORIES, trust)
        more, labels = extra or (None, None)
        vectorizer, model, _ = learn(here, weak, more, labels, trust)
        probabilities = np.zeros((len(self._bank), len(CATEGORIES)))
        probabilities[:, model.classes_] = model.predict_proba(vectorizer.rows(self._bank))
        decided = decide(self._said, self._confidence, probabilities, self._nameless, SURE, 0.0)
        self.last = model, vectorizer
        self._add(name, int((tags != UNKNOWN).sum()), probabilities.argmax(axis=1), decided.labels)

    def _add(self, name: str, labels: int, answers: npt.NDArray[np.int64], hybrid: npt.NDArray[np.int64]) -> None:
        present = np.unique(self._truth)
        outcome = Outcome(
            name,
            labels,
            float((answers == self._truth).mean()),
            float(f1_score(self._truth, answers, labels=present, average="macro", zero_division=0)),
            float((hybrid == self._truth).mean()),
        )
        self.outcomes.append(outcome)
        self._console.print(f"{name}: accuracy {outcome.accuracy:.3f}, with rules first {outcome.hybrid_accuracy:.3f}")


def _tags(truth: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    tags = np.full(len(truth), UNKNOWN, np.int64)
    tags[rows] = truth[rows]
    return tags


if __name__ == "__main__":
    sys.exit(main())

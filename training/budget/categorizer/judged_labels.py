"""Bank labels whose category a person judged before any answer was seen: 25 categories, 20 labels each, twice.

    python -m training.budget.categorizer.judged_labels                       # train as usual, then both sets
    python -m training.budget.categorizer.judged_labels --misses development  # and what was answered otherwise

Rules and the generator's vocabulary are worked on with the set ``development``; ``held_out`` is looked at only for its
figures. An answer is sensible if it is the judged category, or one of those that a person could say as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console

from models.budget.hybrid import SOURCES, Decisions
from training.budget.categorizer.vectorizer import Transactions

FOLDER: Final = Path(__file__).with_name("judged")
SETS: Final = ("development", "held_out")


@dataclass(frozen=True)
class Judgement:
    """How sensible the answers to one set are.

    Attributes
    ----------
    frame
        The set's rows, with the columns ``answer``, ``source``, ``probability`` and ``sensible``.
    """

    frame: pd.DataFrame

    @property
    def sensible(self) -> float:
        """Share of sensible answers."""
        return float(self.frame["sensible"].mean())

    @property
    def sure(self) -> npt.NDArray[np.bool_]:
        """Which answers are given for sure, [N]."""
        sure: npt.NDArray[np.bool_] = (self.frame["source"] != "fallback").to_numpy()
        return sure

    @property
    def sensible_sure(self) -> float:
        """Share of sensible answers among the sure ones."""
        return float(self.frame["sensible"][self.sure].mean())

    @property
    def by_category(self) -> dict[str, int]:
        """How many of each category's labels are answered sensibly, fewest first."""
        counts = self.frame.groupby("category")["sensible"].sum().sort_values(kind="stable")
        return {str(name): int(count) for name, count in counts.items()}

    def summary(self) -> str:
        """Return the figures in one line."""
        weakest = ", ".join(f"{name} {count}" for name, count in list(self.by_category.items())[:5])
        return (
            f"{len(self.frame)} labels, sensible {self.sensible:.1%}; sure of {self.sure.mean():.1%}, of those "
            f"{self.sensible_sure:.1%} ({int((~self.frame['sensible'][self.sure]).sum())} not); fewest: {weakest}"
        )

    def misses(self) -> str:
        """Return the answers that are not sensible, one a line."""
        wrong = self.frame[~self.frame["sensible"]]
        return "\n".join(
            f"{row.category:16} {row.answer:16} {row.source:8} {row.probability:.2f}  {row.label}"
            for row in wrong.itertuples()
        )


def read(name: str) -> pd.DataFrame:
    """Return one of `SETS`: columns label, amount, date, category, and also, further sensible categories."""
    return pd.read_csv(FOLDER / f"{name}.csv", parse_dates=["date"], keep_default_na=False)


def judge(frame: pd.DataFrame, decide: Callable[[Transactions], Decisions], labels: tuple[str, ...]) -> Judgement:
    """Let a categorizer answer a set.

    Parameters
    ----------
    frame
        As `read` gives it.
    decide
        Of a trained categorizer.
    labels
        Its categories.
    """
    decided = decide(Transactions.of(frame))
    answers = [labels[at] for at in decided.labels.tolist()]
    allowed = [{one.category, *one.also.split()} for one in frame.itertuples()]
    return Judgement(
        frame.assign(
            answer=answers,
            source=[SOURCES[at] for at in decided.sources.tolist()],
            probability=decided.probabilities,
            sensible=[answer in among for answer, among in zip(answers, allowed, strict=True)],
        )
    )


def main(argv: list[str] | None = None) -> int:
    """Train a categorizer with the usual options, and print how sensible its answers are."""
    from training.budget.categorizer import recipe

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--misses", choices=SETS, nargs="*", default=(), help="sets whose misses are listed")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="marina-judged-") as home:
        trained = recipe.train(recipe.Options(home=Path(home), seed=arguments.seed), console)
    for name in SETS:
        found = judge(read(name), trained.decide, trained.labels)
        console.print(f"{name}: {found.summary()}", highlight=False, markup=False)
        if name in arguments.misses:
            console.print(found.misses(), highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How good a classifier is: accuracy, top-5, F1 per sign, and whether its probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.quality import measures
from training.evaluation.reliability import Reliability, first_choice, measure_reliability

Probabilities = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Attributes
    ----------
    count
        Clips evaluated.
    accuracy, top5
        Shares of clips whose sign is the first, or among the first five.
    macro_f1, weighted_f1
        Mean of `sign_f1` over the signs that occur, each counting once, or as often as it occurs.
    reliability
        How often the first choice is right, by how sure the classifier is of it.
    sign_f1
        F1 of each sign that occurs.
    confusion
        int64 [signs, signs], rows true, columns predicted.
    """

    count: int
    accuracy: float
    top5: float
    macro_f1: float
    weighted_f1: float
    reliability: Reliability
    sign_f1: dict[str, float]
    confusion: npt.NDArray[np.int64]

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of the first choice."""
        return self.reliability.error

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers by name."""
        names = ("accuracy", "top5", "macro_f1", "weighted_f1", "calibration_error")
        return {name: float(getattr(self, name)) for name in names}

    def __str__(self) -> str:
        """Return the evaluation as a few readable lines, the weakest signs first."""
        weakest = sorted(self.sign_f1.items(), key=lambda item: item[1])
        width = max(map(len, self.sign_f1))
        head = (
            f"{self.count} clips: accuracy {self.accuracy:.3f} · top-5 {self.top5:.3f} · macro-F1 {self.macro_f1:.3f} "
            f"· calibration error {self.calibration_error:.3f}"
        )
        return "\n".join(
            [head, "F1 per sign, the weakest first:", *(f"  {sign:<{width}}  {f1:.2f}" for sign, f1 in weakest)]
        )


def evaluate(probabilities: Probabilities, labels: Labels, signs: Sequence[str]) -> Report:
    """Compare probabilities with the truth.

    Parameters
    ----------
    probabilities
        [N, signs], rows summing to one.
    labels
        int64 [N].
    signs
        Names.

    Raises
    ------
    ValueError
        If there is nothing to compare.
    """
    if len(labels) == 0:
        raise ValueError("expected at least one clip to evaluate, got none; set more clips or signers aside")
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(signs), len(signs)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits, true, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurring = np.flatnonzero(true)
    f1 = measures.f1(hits[occurring], said[occurring], true[occurring])
    better = (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(1)
    return Report(
        count=len(labels),
        accuracy=float((predicted == labels).mean()),
        top5=float((better < 5).mean()),
        macro_f1=measures.macro_f1(hits, said, true),
        weighted_f1=measures.weighted_f1(hits, said, true),
        reliability=measure_reliability(*first_choice(probabilities, labels)),
        sign_f1={signs[int(i)]: float(value) for i, value in zip(occurring, f1, strict=True)},
        confusion=confusion,
    )

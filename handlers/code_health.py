"""Code health: rows of features of files, commits or projects in; a value per row, and what it means, out.

A prediction is ``{"value", "label", "threshold"}``: the value is the probability of the second label (the score of an
anomaly), the label is the second one where the value reaches the threshold that the archive brings. An impact has no
label; it says how many lines it stands for. `code_meta` adds what each of its members answers, all from one graph.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from archives.contract import read_json
from handlers.base import Outputs
from handlers.tabular import Row, TabularHandler

MUCH = math.log(10_001)
"""An impact of 1 stands for 10,000 lines."""


class CodeHealthHandler(TabularHandler):
    """Answers how likely the second label is, or how anomalous a row: `code_risk`, `code_bugs` and `code_anomaly`."""

    def opened(self, folder: Path) -> None:
        """Read what the contract decides by."""
        super().opened(folder)
        self._usual_label, self._label = self.contract.labels or ("", "")
        self._threshold = self.contract.thresholds.get(self._label, 0.0)

    def answered(self, outputs: Outputs) -> NDArray[Any]:
        """Return what an explanation attributes: the value of each row."""
        first: NDArray[Any] = next(iter(outputs.values()))[:, -1]
        return first

    def phrase(self, outputs: Outputs, items: Sequence[Row], top_k: Sequence[int]) -> list[Any]:
        """Return each row's value with its label."""
        values = self.answered(outputs).tolist()
        usual, label, threshold = self._usual_label, self._label, self._threshold
        return [
            {"value": value, "label": label if value >= threshold else usual, "threshold": threshold}
            for value in values
        ]


class CodeImpactHandler(CodeHealthHandler):
    """Answers how much work follows a change."""

    def phrase(self, outputs: Outputs, items: Sequence[Row], top_k: Sequence[int]) -> list[Any]:
        """Return each row's impact, and the lines it stands for."""
        return [{"value": value, "lines": math.expm1(value * MUCH)} for value in self.answered(outputs).tolist()]


class CodeMetaHandler(CodeHealthHandler):
    """Answers by the vote of all the others, and says what each of them answers."""

    def opened(self, folder: Path) -> None:
        """Read the members and their weights."""
        super().opened(folder)
        self._members = tuple(read_json(folder / "family.json")["members"])

    def phrase(self, outputs: Outputs, items: Sequence[Row], top_k: Sequence[int]) -> list[Any]:
        """Return each row's value with its label, and its members' own answers."""
        answers = super().phrase(outputs, items, top_k)
        for answer, members in zip(answers, outputs["members"].tolist(), strict=True):
            answer["members"] = dict(zip(self._members, members, strict=True))
        return answers

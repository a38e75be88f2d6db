"""The kinds of truth: in which form it is known, after the fact, what a model should have answered."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Final, Literal

Kind = Literal["label", "questions", "rows", "numbers"]
"""A closed set.

``label``: one label. ``questions``: of each question that the model answers by itself, whether it came true. ``rows``:
of each row of the instance, whether it is anomalous. ``numbers``: of each target, what it came to.
"""

KINDS: Final[tuple[Kind, ...]] = ("label", "questions", "rows", "numbers")


def kind_of(task: str, labels: Sequence[str], thresholds: Container[str]) -> Kind:
    """Return the kind of truth of a model's answers.

    Parameters
    ----------
    task, labels, thresholds
        Of its contract. Labels of which each has a threshold are questions, each decided by itself; of a question with
        two answers only the second has one.

    Returns
    -------
    Kind
        Every contract has one, also those of archives from before there were kinds.
    """
    if task == "regression":
        return "numbers"
    if task == "anomaly" and not labels:
        return "rows"
    if labels and all(label in thresholds for label in labels):
        return "questions"
    return "label"


def kind_of_answer(answer: Any) -> Kind | None:
    """Return the kind of truth that an answer's form suggests, where its contract is not known; None for no known form.

    Parameters
    ----------
    answer
        One instance's prediction, of JSON.
    """
    first = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(first, dict):
        return None
    if isinstance(answer, list) and "alert" in first:
        return "questions"
    if isinstance(first.get("transactions"), list):
        return "rows"
    if isinstance(first.get("label"), str):
        return "label"
    return "numbers" if isinstance(first.get("categories"), list) or "value" in first else None

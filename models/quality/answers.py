"""What an answer says of each part that a truth may be about, whichever model gave it.

A part is a question, a row, or a target; a label is one part without a name. Answers are read as the prediction log
keeps them: one instance's prediction, of JSON. What cannot be read says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from models.quality.kinds import Kind

WHOLE: Final = ""
"""The part that an answer with one label is."""

VALUE: Final = "value"
LINES: Final = "lines"
"""The targets of an impact: from 0 to 1, and in lines of code, which are converted."""

MOST_LINES: Final = math.log(10_001)
"""An impact of 1 stands for 10,000 lines."""


class Amount(NamedTuple):
    """A number that was answered.

    Attributes
    ----------
    value
        The forecast.
    low, high
        Its interval; None where none is given.
    is_share
        Whether it is from 0 to 1, so that an error is not compared with the size of what was true.
    """

    value: float
    low: float | None = None
    high: float | None = None
    is_share: bool = False


Said = str | bool | Amount
"""What was answered of one part: a label, yes or no, or a number."""

Parts = Mapping[str, Said | None]
"""By part; None where a truth of the part may come and is not held against the answer."""


def read_parts(kind: Kind, answer: Any) -> Parts:
    """Return what an answer says, by part.

    Parameters
    ----------
    kind
        Of the model's truths.
    answer
        One instance's prediction.

    Returns
    -------
    mapping of str to str, bool, Amount or None
        Of a label, the first. Of questions, whether an alert was given; None where the state that it warns of held
        already: it cannot begin. Of rows, by their place, whether the verdict is another than ``normal``. Of numbers,
        by category, or of an impact by `VALUE`.
    """
    if kind == "label":
        first = answer[0] if isinstance(answer, list) and answer else answer
        label = first.get("label") if isinstance(first, dict) else None
        return {WHOLE: label} if isinstance(label, str) else {}
    if kind == "questions":
        asked = answer if isinstance(answer, list) else ()
        return {
            one["label"]: None if one.get("already") is True else one.get("alert") is True
            for one in asked
            if isinstance(one, dict) and isinstance(one.get("label"), str)
        }
    said: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
    if kind == "rows":
        rows = said.get("transactions")
        judged = rows if isinstance(rows, list) else ()
        return {
            str(at): one.get("verdict") != "normal"
            for at, one in enumerate(judged)
            if isinstance(one, dict) and isinstance(one.get("verdict"), str)
        }
    if isinstance(categories := said.get("categories"), list):
        return {
            one["name"]: Amount(float(value), _number(one.get("low_eur")), _number(one.get("high_eur")))
            for one in categories
            if isinstance(one, dict)
            and isinstance(one.get("name"), str)
            and (value := _number(one.get("forecast_eur"))) is not None
        }
    value = _number(said.get(VALUE))
    return {} if value is None else {VALUE: Amount(value, is_share=True)}


def impact_of(lines: float) -> float:
    """Return the impact that a number of lines is, from 0 to 1."""
    return min(1.0, math.log1p(lines) / MOST_LINES)


def _number(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if math.isfinite(said) else None

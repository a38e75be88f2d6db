"""What a prediction says in the words that every model shares: a label, a confidence, a value."""

import math
from typing import Any, NamedTuple

LONGEST_LABEL = 256
"""Characters, as the tables have room for."""


class Prediction(NamedTuple):
    """What one instance was answered; None for what the answer does not say."""

    label: str | None
    confidence: float | None
    value: float | None


def read_prediction(said: Any) -> Prediction:
    """Read one instance's prediction, whatever it is, so that any database takes what is found.

    Parameters
    ----------
    said
        Of JSON: a list of ``{"label", "probability"}``, the likeliest first, or an object with some of ``label``,
        ``probability`` or ``confidence``, and ``value``. In anything else nothing is found.

    Returns
    -------
    Prediction
        The label cut at `LONGEST_LABEL`, without NULs, which PostgreSQL's texts cannot hold; numbers are finite.
    """
    first = said[0] if isinstance(said, list) and said else said
    fields = first if isinstance(first, dict) else {}
    label, confidence = fields.get("label"), number(fields.get("probability"))
    return Prediction(
        _text(label) if isinstance(label, str) else None,
        number(fields.get("confidence")) if confidence is None else confidence,
        number(said.get("value")) if isinstance(said, dict) else None,
    )


def number(said: Any) -> float | None:
    """Return a number of JSON that a database takes; None for anything else."""
    if type(said) is float:
        return said if math.isfinite(said) else None
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return None
    try:
        found = float(said)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _text(label: str) -> str:
    return label.encode(errors="replace").decode().replace("\0", "")[:LONGEST_LABEL]

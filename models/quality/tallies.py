"""What labelled answers add up to: sums from which every measure is computed, and the loss of each answer.

Sums of some answers and of others are added, so windows, servers and versions can be put together without their rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.quality.answers import WHOLE, Amount, Parts
from models.quality.kinds import Kind
from models.quality.measures import (
    LEAST_EUROS,
    covers,
    f1,
    false_positive_rate,
    macro_f1,
    precision,
    ratio,
    recall,
    wape_of,
    weighted_f1,
)

Truth = Mapping[str, str | bool | float]
"""What is true, by part, as `marina.events.truths` keeps it."""

Tally = Counter[tuple[str, str]]
"""Sums, whole or not, by what they are of and by part.

``answers`` and ``loss``; of labels, questions and rows ``of``, ``hits``, ``said`` and ``true``; of numbers ``errors``,
``sizes`` (of what was true), ``squares``, ``shares`` (errors relative to what was true) and how many there are of each.
"""

WHOLE_LOSS: Final = 1.0
"""The loss of an answer than which none is worse."""


def tally_label(said: str, true: str, times: int = 1) -> Tally:
    """Count answers of one label of which another, or the same, was true, `times` alike."""
    wrong = said != true
    found: Tally = Counter({("answers", WHOLE): times, ("of", WHOLE): times})
    found["loss", WHOLE] = times * wrong
    found["hits", said] = times * (not wrong)
    found["said", said] = found["true", true] = times
    return found


def tally(kind: Kind, parts: Parts, truth: Truth) -> Tally:
    """Count one answer.

    Parameters
    ----------
    kind
        Of the truth.
    parts
        What was answered, as `models.quality.answers.read_parts` reads it.
    truth
        What is true of some or all of the parts.

    Returns
    -------
    Tally
        Empty where nothing that is known can be held against the answer.
    """
    common = [(name, said, truth[name]) for name, said in parts.items() if said is not None and name in truth]
    if not common:
        return Counter()
    found: Tally = Counter({("answers", WHOLE): 1})
    if kind == "label":
        return tally_label(str(common[0][1]), str(common[0][2]))
    for name, said, true in common:
        if isinstance(said, Amount):
            _add_number(found, said, float(true))
        else:
            part = name if kind == "questions" else WHOLE
            _add_flag(found, part, bool(said), bool(true))
    add_to(found, {("loss", WHOLE): _loss(parts, truth)})
    return found


def overlap_of(kind: Kind, sums: Tally) -> tuple[float, float]:
    """Return how often both the answer and the truth were yes, and how often either was; nothing is of labels.

    The F1 of all parts together is that of the share (`models.quality.measures.f1_of_overlap`).
    """
    if kind not in ("questions", "rows"):
        return 0.0, 0.0
    hits, said, true = (
        float(sum(count for (what, _), count in sums.items() if what == one)) for one in ("hits", "said", "true")
    )
    return hits, said + true - hits


def measures(kind: Kind, sums: Tally, positive: str | None = None) -> dict[str, float]:
    """Compute every measure of a kind; those of nothing are left out.

    Parameters
    ----------
    kind
        Of the truths.
    sums
        Of any answers of one model.
    positive
        Of a question with two labels, the one that is asked about.

    Returns
    -------
    dict of str to float
        ``loss``, and of labels ``accuracy``, ``macro_f1`` and ``weighted_f1``; of questions the mean ``f1``, that of
        each, such as ``SPIKE_LIKELY@4h.f1``, and of all as if they were one, ``pooled_f1``; of these, of rows and of a
        question with two labels ``precision``, ``recall``, ``f1`` and ``false_positive_rate``; of numbers ``rmse``,
        ``mae``, ``mape``, ``wape`` and ``coverage``.
    """
    answers = sums["answers", WHOLE]
    if not answers:
        return {}
    found = {"loss": sums["loss", WHOLE] / answers}
    if kind == "numbers":
        found |= _of_numbers(sums)
    elif kind == "label":
        found |= _of_labels(sums, positive)
    else:
        found |= _of_flags(sums, kind)
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def add_to(sums: Tally, more: Mapping[tuple[str, str], float]) -> None:
    """Add the sums of other answers."""
    for key, value in more.items():
        sums[key] += value  # type: ignore[assignment]  # a Counter's sums need not be whole


def _loss(parts: Parts, truth: Truth) -> float:
    """Return how bad one answer is, from 0 to 1.

    A wrong label is 1. Of questions and rows it is the share of the known ones that are wrong. Of numbers it is the
    sum of the errors' sizes as a share of what was true in all (of at least 20 euros), or of numbers from 0 to 1 the
    mean error; 1 at most.
    """
    common = [(said, truth[name]) for name, said in parts.items() if said is not None and name in truth]
    amounts = [(said, float(true)) for said, true in common if isinstance(said, Amount)]
    if not amounts:
        return sum(bool(said) != bool(true) for said, true in common) / len(common)
    errors = sum(abs(said.value - true) for said, true in amounts)
    if amounts[0][0].is_share:
        return min(WHOLE_LOSS, errors / len(amounts))
    return min(WHOLE_LOSS, errors / max(sum(abs(true) for _, true in amounts), LEAST_EUROS))


def _add_flag(sums: Tally, part: str, said: bool, true: bool) -> None:
    for name, count in (("of", 1), ("hits", said and true), ("said", said), ("true", true)):
        sums[name, part] += int(count)


def _add_number(sums: Tally, said: Amount, true: float) -> None:
    error = abs(said.value - true)
    sums["of", WHOLE] += 1
    add_up: dict[str, float] = {"errors": error, "squares": error * error}
    if not said.is_share:
        add_up["sizes"] = abs(true)
        if abs(true) >= LEAST_EUROS:
            add_up |= {"shares": error / abs(true), "shares of": 1}
    if said.low is not None and said.high is not None:
        add_up |= {"covered": float(covers(true, said.low, said.high)), "intervals": 1}
    add_to(sums, {(name, WHOLE): value for name, value in add_up.items()})


def _of_numbers(sums: Tally) -> dict[str, float]:
    def get(name: str) -> float:
        return float(sums[name, WHOLE])

    found = {"rmse": math.sqrt(get("squares") / get("of")), "mae": get("errors") / get("of")}
    if get("sizes"):
        found["wape"] = wape_of(get("errors"), get("sizes"))
    found["mape"] = float(ratio(get("shares"), get("shares of")))
    found["coverage"] = float(ratio(get("covered"), get("intervals")))
    return found


def _columns(sums: Tally, names: Sequence[str]) -> list[list[float]]:
    return [[sums[what, name] for name in names] for what in ("hits", "said", "true")]


def _of_labels(sums: Tally, positive: str | None) -> dict[str, float]:
    names = sorted({name for what, name in sums if what in ("said", "true")})
    hits, said, true = _columns(sums, names)
    of = sums["of", WHOLE]
    found = {
        "accuracy": sum(hits) / of,
        "macro_f1": macro_f1(hits, said, true),
        "weighted_f1": weighted_f1(hits, said, true),
    }
    if positive is not None:
        found |= _of_two(sums["hits", positive], sums["said", positive], sums["true", positive], of)
    return found


def _of_flags(sums: Tally, kind: Kind) -> dict[str, float]:
    names = sorted(name for what, name in sums if what == "of")
    hits, said, true = _columns(sums, names)
    of = [sums["of", name] for name in names]
    found = _of_two(sum(hits), sum(said), sum(true), sum(of))
    wrong = sum(said) + sum(true) - 2 * sum(hits)
    found["accuracy"] = 1 - wrong / sum(of)
    if kind == "questions":
        if "f1" in found:
            found["pooled_f1"] = found["f1"]
        asked = np.add(said, true) > 0
        each = f1(hits, said, true)
        found["f1"] = float(each[asked].mean()) if asked.any() else float("nan")
        found |= {f"{name}.f1": value for name, value, any_ in zip(names, each, asked, strict=True) if any_}
    return found


def _of_two(hits: float, said: float, true: float, of: float) -> dict[str, float]:
    return {
        "precision": float(precision(hits, said)),
        "recall": float(recall(hits, true)),
        "f1": float(f1(hits, said, true)) if said + true else float("nan"),
        "false_positive_rate": float(false_positive_rate(hits, said, true, of)),
    }

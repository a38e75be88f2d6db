"""Whether a trained version is released: promote, keep or inconclusive, from figures alone.

Promoted is what is strictly beyond the bound, better than production by a paired test on the same held-out rows, and
behind on no slice of them. What is not shown is inconclusive, and is not released.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marina.pipelines.paired_test import PairedTest
from marina.rollout.promotion import Rule

Outcome = Literal["promote", "keep", "inconclusive"]

SLICE_LEVEL = 0.05
"""Of all slices together: how often one that is not behind may stop a promotion."""


@dataclass(frozen=True)
class HeldOut:
    """What production and the new version answered to the same rows.

    Attributes
    ----------
    test
        On all rows.
    slices
        The same on each slice, by its name.
    refused_before, refused_after
        Rows that the one and the other refused, which are in no test.
    unit
        What a loss is: "errors", "EUR".
    """

    test: PairedTest
    slices: Mapping[str, PairedTest] = field(default_factory=dict)
    refused_before: int = 0
    refused_after: int = 0
    unit: str = "loss"

    def behind(self, bound: float) -> list[str]:
        """Return the slices whose mean loss grew by more than a bound, beyond chance."""
        level = SLICE_LEVEL / max(1, len(self.slices))
        return [
            f"{name} ({-one.gain:+.3f} {self.unit}, {one.rows} rows)"
            for name, one in self.slices.items()
            if -one.gain > bound and PairedTest(one.rows, one.groups, -one.gain, -one.z).p <= level
        ]


@dataclass(frozen=True)
class Decision:
    """What was decided, why, and on which figures."""

    outcome: Outcome
    reason: str
    details: Mapping[str, Any]


def decide(
    rule: Rule, value: float, champion: str | None, held_out: HeldOut | None, level: float, slice_bound: float
) -> Decision:
    """Decide on a version.

    Parameters
    ----------
    rule
        The metric and its bound; it must be strictly beyond.
    value
        The version's, of its training's held-out data, as its signed archive states it.
    champion
        The version in production; None where there is none, and the bound alone decides.
    held_out
        What both answered to the same rows; None where there are none.
    level
        Of the paired test.
    slice_bound
        By how much the mean loss of a slice may grow.
    """
    beyond, asked = (operator.lt, "below") if rule.less_is_better else (operator.gt, "above")
    details: dict[str, Any] = {"metric": rule.metric, "value": value, "bound": rule.bound, "champion": champion}
    measured = f"{rule.metric} {value:.4g}"
    if not beyond(value, rule.bound):
        return Decision("keep", f"{measured} is not {asked} {rule.bound:.4g}", details)
    measured += f" is {asked} {rule.bound:.4g}"
    if champion is None:
        return Decision("promote", f"{measured}, and no version is in production", details)
    if held_out is None:
        return Decision("inconclusive", f"{measured}, and no held-out rows compare it with {champion}", details)
    test, unit = held_out.test, held_out.unit
    details |= {
        "rows": test.rows, "groups": test.groups, "gain": test.gain, "unit": unit, "z": test.z, "p": test.p,
        "level": level, "slices": len(held_out.slices), "slice_bound": slice_bound,
        "refused": held_out.refused_after, "champion_refused": held_out.refused_before,
    }  # fmt: skip
    if held_out.refused_after > held_out.refused_before:
        more = held_out.refused_after - held_out.refused_before
        return Decision("keep", f"{measured}, and it refuses {more} rows more than {champion}", details)
    if behind := held_out.behind(slice_bound):
        details["behind"] = behind
        return Decision("keep", f"{measured}, and it falls behind {champion} on: {', '.join(behind)}", details)
    found = f"{test.gain:+.4f} {unit} a row less than {champion} on {test.rows:,} rows in {test.groups:,} groups"
    if test.gain <= 0:
        return Decision("keep", f"{measured}, and it is not better: {found}", details)
    compared = f"p {test.p:.2g}, level {level:.2g}"
    if test.p <= level:
        return Decision("promote", f"{measured}, and it is better: {found} ({compared})", details)
    details["rows_needed"] = needed = test.rows_needed(level)
    return Decision(
        "inconclusive", f"{measured}, and it is not shown to be better: {found} ({compared}); about {needed:,} rows "
        "would show that", details,
    )  # fmt: skip

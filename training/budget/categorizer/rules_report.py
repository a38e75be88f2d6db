"""What rules do: which get in each other's way, and how often and how rightly each fires on known transactions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.budget.labels import OPERATIONS, parsed
from models.budget.rules import Rule, RuleSet
from training.evaluation.slices import wilson

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.9
"""Confidence from which on a rule answers without asking the model."""


@dataclass(frozen=True)
class Problem:
    """Two rules in each other's way.

    Attributes
    ----------
    kind
        "shadowed": whatever fires `rule` fires `other` first, so it never answers. "conflict": both share a phrase,
        can hold at once, say different categories, and nothing but their confidence or name decides.
    rule, other
        Their names.
    why
        The phrase they share.
    """

    kind: str
    rule: str
    other: str
    why: str

    def __str__(self) -> str:
        """Return it in one line."""
        verb = "is shadowed by" if self.kind == "shadowed" else "conflicts with"
        return f"{self.rule} {verb} {self.other}: {self.why}"


def problems(rules: RuleSet) -> list[Problem]:
    """Return what is shadowed and what conflicts, judged from the rules alone; regular expressions are not compared."""
    found = []
    for rank, rule in enumerate(rules.rules):
        for other in rules.rules[:rank]:
            if (why := _shadow(other, rule)) is not None:
                found.append(Problem("shadowed", rule.name, other.name, why))
            elif other.priority == rule.priority and other.category != rule.category and _meet(other, rule):
                shared = _shared(other, rule)
                if shared:
                    found.append(Problem("conflict", rule.name, other.name, ", ".join(shared)))
    return found


def _shadow(first: Rule, later: Rule) -> str | None:
    """Return why every transaction that fires `later` fires `first`, or None where it need not."""
    if not _wider(first, later):
        return None
    if not first.keywords and not first.regex:
        return "it fires on the same bookings whatever they say"
    if later.regex or not later.keywords:
        return "the same pattern" if later.regex and later.regex == first.regex and not later.keywords else None
    if all(any(_covers(wide, narrow) for wide in first.keywords) for narrow in later.keywords):
        return "all its phrases are among the other's"
    return None


def _wider(first: Rule, later: Rule) -> bool:
    """Whether every other condition of `later` is within that of `first`."""
    return (
        set(later.operations or OPERATIONS) <= set(first.operations or OPERATIONS)
        and first.sign in ("", later.sign)
        and first.amount[0] <= later.amount[0]
        and later.amount[1] <= first.amount[1]
        and first.days[0] <= later.days[0]
        and later.days[1] <= first.days[1]
        and set(later.months or range(1, 13)) <= set(first.months or range(1, 13))
        and set(later.weekdays or range(7)) <= set(first.weekdays or range(7))
    )


def _meet(one: Rule, other: Rule) -> bool:
    """Whether some transaction satisfies the other conditions of both."""
    return bool(
        set(one.operations or OPERATIONS) & set(other.operations or OPERATIONS)
        and (not one.sign or not other.sign or one.sign == other.sign)
        and max(one.amount[0], other.amount[0]) < min(one.amount[1], other.amount[1])
        and max(one.days[0], other.days[0]) <= min(one.days[1], other.days[1])
        and set(one.months or range(1, 13)) & set(other.months or range(1, 13))
        and set(one.weekdays or range(7)) & set(other.weekdays or range(7))
    )


def _covers(wide: str, narrow: str) -> bool:
    """Whether every text with the phrase `narrow` has the phrase `wide`."""
    whole = wide.rstrip("*").split()
    inside = narrow.rstrip("*").split()
    for start in range(len(inside) - len(whole) + 1):
        part = inside[start : start + len(whole)]
        last = start + len(whole) == len(inside)
        if part[:-1] != whole[:-1]:
            continue
        if part[-1].startswith(whole[-1]) if wide.endswith("*") else part[-1] == whole[-1]:
            if last and narrow.endswith("*") and not wide.endswith("*"):
                continue  # the narrow phrase may continue where the wide one may not
            return True
    return False


def _shared(one: Rule, other: Rule) -> list[str]:
    return sorted(
        {
            narrow
            for a, b in ((one, other), (other, one))
            for narrow in a.keywords
            if any(_covers(wide, narrow) for wide in b.keywords)
        }
    )


@dataclass(frozen=True)
class Measured:
    """One rule on known transactions: how often it fired, answered, and was right when it answered."""

    rule: Rule
    fired: int
    answered: int
    right: int

    @property
    def precision(self) -> float:
        """Share of its answers that were right; NaN where it gave none."""
        return self.right / self.answered if self.answered else math.nan

    @property
    def overconfident(self) -> bool:
        """Whether it claims more than its answers bear out, beyond chance (95 %)."""
        return self.answered > 0 and wilson(self.precision, self.answered)[1] < self.rule.confidence


@dataclass(frozen=True)
class RulesReport:
    """All rules on known transactions.

    Attributes
    ----------
    rows
        Transactions.
    coverage, precision
        Share of the transactions that any rule answers, and the share of those answers that are right.
    sure_coverage, sure_precision
        The same for rules of at least `SURE` confidence.
    rules
        Each rule, by rank.
    """

    rows: int
    coverage: float
    precision: float
    sure_coverage: float
    sure_precision: float
    rules: tuple[Measured, ...]

    def markdown(self) -> str:
        """Return it as a table, the most frequent rule first."""
        lines = [
            f"{self.rows} transactions: a rule fires on {self.coverage:.1%}, right {self.precision:.1%}; "
            f"of confidence {SURE} or more on {self.sure_coverage:.1%}, right {self.sure_precision:.1%}",
            "",
            "| rule | category | confidence | fired | answered | right |",
            "|---|---|---|---|---|---|",
        ]
        for one in sorted(self.rules, key=lambda one: -one.answered):
            right = f"{one.precision:.3f}" if one.answered else "-"
            mark = " (claims too much)" if one.overconfident else ""
            lines.append(
                f"| {one.rule.name} | {one.rule.category} | {one.rule.confidence} | {one.fired} | {one.answered} "
                f"| {right}{mark} |"
            )
        return "\n".join(lines)


def measure(rules: RuleSet, frame: pd.DataFrame) -> RulesReport:
    """Let rules answer known transactions.

    Parameters
    ----------
    rules
        The rules.
    frame
        Columns label, amount, date and category.
    """
    truth = frame["category"].to_numpy()
    days = frame["date"].to_numpy().astype("datetime64[D]")
    firings = rules.fire(parsed(frame["label"].tolist()), frame["amount"].to_numpy(np.float64), days)
    best = firings.best(len(frame))
    categories = np.array([rule.category for rule in rules.rules], dtype=object)
    confidence = np.array([rule.confidence for rule in rules.rules])
    answered = best >= 0
    right = np.zeros(len(frame), np.bool_)
    right[answered] = categories[best[answered]] == truth[answered]
    sure = answered.copy()
    sure[answered] = confidence[best[answered]] >= SURE
    each = zip(
        rules.rules,
        _counts(firings.ranks, rules.rules),
        _counts(best[answered], rules.rules),
        _counts(best[right], rules.rules),
        strict=True,
    )
    return RulesReport(
        rows=len(frame),
        coverage=float(answered.mean()),
        precision=_share(right[answered]),
        sure_coverage=float(sure.mean()),
        sure_precision=_share(right[sure]),
        rules=tuple(Measured(*one) for one in each),
    )


def _counts(ranks: npt.NDArray[np.int64], rules: Sequence[Rule]) -> list[int]:
    counts: list[int] = np.bincount(ranks, minlength=len(rules)).tolist()
    return counts


def _share(right: npt.NDArray[Any]) -> float:
    return float(right.mean()) if len(right) else math.nan

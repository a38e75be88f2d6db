"""Promotions, simulated by the year: how often a version that is no better is promoted, and one that is."""

from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from marina.pipelines import alpha_spending
from marina.pipelines.decision import Decision, HeldOut, decide
from marina.pipelines.paired_test import PairedTest, compare, critical
from marina.rollout.promotion import Rule

ROWS, LABELS = 1_000, 5
WRONG = 0.20
"""How often production errs."""


def held_out(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> HeldOut:
    labels = np.arange(len(before)) % LABELS
    old, new = before.astype(float), after.astype(float)
    chosen = {f"label {k}": labels == k for k in range(LABELS)}
    slices = {name: compare(old[mine], new[mine], groups[mine]) for name, mine in chosen.items()}
    return HeldOut(compare(old, new, groups), slices, unit="errors")


def year(rng: np.random.Generator, weeks: int, gain: float, level: float | None = None) -> list[Decision]:
    """Decide each week on a new version, until one ships; the held-out rows, three to a group, grow by 3 % a week."""
    most = int(ROWS * 1.03**weeks)
    groups = np.arange(most) // 3
    before = rng.random(most) < WRONG  # what production answers to the same rows stays the same
    found = []
    for week in range(1, weeks + 1):
        kept = rng.random(most) < 0.75 - gain / WRONG
        slips = rng.random(most) < 0.25 * WRONG / (1 - WRONG)
        after = np.where(before, kept, slips)
        rows = int(ROWS * 1.03**week)
        seen = held_out(before[:rows], after[:rows], groups[:rows])
        at = alpha_spending.level(week) if level is None else level
        found.append(decide(Rule(), 0.8, "1.0", seen, at, 0.05))
        if found[-1].outcome == "promote":
            break
    return found


def shipped(weeks: int, gain: float, years: int, level: float | None = None) -> float:
    rng = np.random.default_rng(20261123)
    return sum(year(rng, weeks, gain, level)[-1].outcome == "promote" for _ in range(years)) / years


def test_in_a_year_of_weekly_looks_what_is_no_better_is_promoted_in_one_of_twenty_at_most() -> None:
    assert shipped(52, 0.0, 150) <= 0.05


def test_without_spending_it_would_be_promoted_more_often() -> None:
    assert shipped(52, 0.0, 60, level=0.05) > 0.15


def test_three_points_are_promoted_within_four_weeks_in_eighty_of_a_hundred() -> None:
    assert shipped(4, 0.03, 200) >= 0.8


def test_the_p_value_holds_for_few_groups_too() -> None:
    """All ways in which fair signs can fall: at no level are there more of them than it says."""
    for weights in ([1, 1, 1, 1], [3, 1, 1, 1, 1], [5, 4, 3, 2, 1, 1, 1, 1], [1] * 11):
        sums = np.array([np.dot(signs, weights) for signs in product((-1, 1), repeat=len(weights))])
        found = [PairedTest(9, 9, 0.0, one / np.sqrt(np.square(weights).sum())).p for one in sums]
        for p in sorted(set(found)):
            assert np.mean(np.array(found) <= p) <= p + 1e-12


def test_rows_of_a_group_count_as_one() -> None:
    before, after = np.ones(40), np.zeros(40)
    alone, together = compare(before, after, np.arange(40)), compare(before, after, np.arange(40) // 20)
    assert alone.p < 1e-8 and together.p > 0.2


def test_losses_that_are_equal_show_nothing() -> None:
    same = compare(np.ones(50), np.ones(50), np.arange(50))
    assert (same.gain, same.z, same.rows_needed(0.025)) == (0.0, 0.0, None) and same.p == 1.0
    with pytest.raises(ValueError, match="losses of the same rows"):
        compare(np.ones(0), np.ones(0), np.ones(0))


def test_as_many_rows_as_are_said_to_be_needed_find_the_gain_in_four_of_five() -> None:
    rng, found = np.random.default_rng(5), 0
    needed = PairedTest(1000, 1000, 0.03, 0.03 * np.sqrt(1000 / 0.1)).rows_needed(0.025)
    assert needed is not None
    for _ in range(400):
        differs = rng.choice([1.0, 0.0, -1.0], needed, p=[0.065, 0.9, 0.035])
        found += compare(differs, np.zeros(needed), np.arange(needed)).z >= critical(0.025)
    assert 0.75 < found / 400 < 0.85


TEST = PairedTest(rows=1000, groups=400, gain=0.03, z=4.0)


@pytest.mark.parametrize(
    ("value", "champion", "seen", "outcome", "reason"),
    [
        (0.75, "1.0", HeldOut(TEST), "keep", "weighted_f1 0.75 is not above 0.75"),
        (0.76, None, None, "promote", "no version is in production"),
        (0.75, None, None, "keep", "is not above"),
        (0.80, "1.0", None, "inconclusive", "no held-out rows compare it with 1.0"),
        (0.80, "1.0", HeldOut(TEST), "promote", "+0.0300 loss a row less than 1.0 on 1,000 rows in 400 groups"),
        (0.80, "1.0", HeldOut(replace(TEST, gain=-0.01, z=-1)), "keep", "it is not better"),
        (0.80, "1.0", HeldOut(replace(TEST, z=1.5)), "inconclusive", "about 4,714 rows would show that"),
        (0.80, "1.0", HeldOut(TEST, refused_after=3, refused_before=1), "keep", "refuses 2 rows more"),
    ],
)
def test_each_condition_decides(
    value: float, champion: str | None, seen: HeldOut | None, outcome: str, reason: str
) -> None:
    found = decide(Rule(), value, champion, seen, 0.025, 0.05)
    assert found.outcome == outcome and reason in found.reason


def test_of_some_metrics_less_is_better() -> None:
    rule = Rule("wape", 0.5, less_is_better=True)
    assert decide(rule, 0.5, None, None, 0.0, 0.05).outcome == "keep"
    assert decide(rule, 0.4, None, None, 0.0, 0.05).outcome == "promote"


@pytest.mark.parametrize(("gain", "z", "outcome"), [(-0.2, -5, "keep"), (-0.04, -5, "promote"), (-0.2, -1, "promote")])
def test_a_slice_that_falls_behind_by_more_than_its_bound_stops_it(gain: float, z: float, outcome: str) -> None:
    seen = HeldOut(TEST, {"label a": PairedTest(90, 50, gain, z), "label b": TEST})
    found = decide(Rule(), 0.8, "1.0", seen, 0.025, 0.05)
    assert found.outcome == outcome
    assert ("falls behind 1.0 on: label a" in found.reason) is (outcome == "keep")


def test_what_a_year_spends_is_at_most_alpha_however_the_looks_lie() -> None:
    rng = np.random.default_rng(3)
    days = np.sort(rng.integers(0, 3 * 365, 200)) * 86_400.0
    levels = np.array([alpha_spending.level(alpha_spending.next_look(days[:k], day)) for k, day in enumerate(days)])
    for start in days:
        assert levels[(days >= start) & (days < start + alpha_spending.YEAR_S)].sum() <= alpha_spending.ALPHA
    assert alpha_spending.next_look(days[:10], days[9] + 2 * alpha_spending.YEAR_S) == 1

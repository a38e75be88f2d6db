"""How a transaction differs from what its user does otherwise: twins, merchant profiles, bursts, rhythm.

Nothing later than a transaction is looked at, save that a burst counts its whole day, and that what is usual for the
user is a median over all rows. Amounts enter as logarithms against the user's and the merchant's own, so that no
feature has a currency. 50 rows against 450 take 1.3 ms, one row against 500 takes 0.3 ms.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.anomaly_history import SAME, Bools, Compared, History, Ints, compared, new_words
from models.budget.robust import Floats, median

WINDOW_DAYS: Final = 10
"""Days within which an equal payment may be a duplicate."""

NEAR: Final = 0.02
"""Relative difference from which two amounts are no longer taken for one."""

LIKE: Final = 0.15
"""Relative difference up to which an amount continues a habit: prices rise."""

HABIT: Final = 0.2
"""Share of earlier days from which paying the like again is a habit, and no duplicate of anything."""

BURST_DAYS: Final = 2
"""Days, the transaction's own among them, over which a burst is counted."""

REPETITION: Final = (
    "twin",
    "twin_similarity",
    "twin_days",
    "twin_difference",
    "repeat_habit",
    "days_since_merchant",
    "gap_vs_usual",
    "day_shift",
    "burst",
    "burst_merchant",
)
"""Features of when and how often."""

PROFILE: Final = (
    "amount_vs_merchant",
    "merchant_spread",
    "amount_vs_highest",
    "amount_vs_user",
    "amount_rank",
    "merchant_new",
    "merchant_count",
    "merchant_similarity",
    "new_words",
    "weekend",
    "incoming",
    "history_rows",
    "history_days",
)
"""Features of who and how much."""

FEATURES: Final = REPETITION + PROFILE
"""Names in the order of the columns; docs/families/budget.md defines them one by one."""

PARTS: Final = ("repetition", "profile", "strangeness")
"""What a score is made of: the features of each group, and how rare they are together."""

_NEVER = np.log1p(400.0)  # days since a merchant never seen
_PRIOR_SPREAD, _PRIOR_ROWS = 0.35, 3.0  # of log amounts at a merchant, before anything is known of it
_FAR = 12.0

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Evidence:
    """What the features of P judged rows rest on, for the reasons of an answer.

    Attributes
    ----------
    twin
        int64 [P], the earlier row that a row may duplicate; -1 where there is none.
    visits
        int64 [P], earlier rows of the merchant.
    usual
        float64 [P], median of their amounts' sizes in euros; NaN where there are none.
    burst, burst_merchant
        int64 [P], rows of the same direction within `BURST_DAYS`, the row among them: all, and of the merchant.
    per_day
        float64 [P], such rows on an average day.
    """

    twin: Ints
    visits: Ints
    usual: Floats
    burst: Ints
    burst_merchant: Ints
    per_day: Floats


def features(history: History) -> tuple[NDArray[np.float32], Evidence]:
    """Compare every judged row with what came before it.

    Parameters
    ----------
    history : History
        N rows, P of them judged; costs time and memory in P x N.

    Returns
    -------
    rows : ndarray of float32, shape (P, 23)
        Always finite.
    evidence : Evidence
    """
    to = compared(history)
    twin, twins = _twins(history, to)
    usual, amounts = _amounts(history, to)
    (burst, burst_merchant, per_day), bursts = _bursts(history, to)
    columns = {**twins, **amounts, **_rhythm(history, to), **bursts, **_merchants(history, to)}
    rows = np.array([columns[name] for name in FEATURES]).T
    evidence = Evidence(twin, to.visits, usual, burst, burst_merchant, per_day)
    return np.maximum(np.minimum(rows, _FAR), -_FAR).astype(np.float32, order="C"), evidence


def _twins(history: History, to: Compared) -> tuple[Ints, Columns]:
    """Find each judged row's likeliest original: near in amount, in time, and in its key."""
    amounts, own = history.amounts[None, :], history.amounts[history.judged, None]
    off = np.abs(own - amounts) / np.maximum(np.maximum(np.abs(own), np.abs(amounts)), 0.01)
    score = np.where(to.before & (to.gap <= WINDOW_DAYS) & (to.alike >= 0.6), np.maximum(0.0, 1 - off / NEAR), 0.0)
    score *= to.alike**2 * 0.9 ** np.minimum(np.abs(to.gap), WINDOW_DAYS)
    # among equals the latest row is the original that a bank's page would show beside it
    best = score.shape[1] - 1 - score[:, ::-1].argmax(axis=1)
    at = np.arange(len(best))
    score = score[at, best]
    habit = _habits(history, to, np.where(score > 0, best, -1))
    found = (score > 0) & (habit < HABIT)
    score = np.where(found, score, 0.0)
    return np.where(found, best, -1), {
        "twin": score,
        "twin_similarity": np.where(found, to.alike[at, best], 0.0),
        "twin_days": np.where(found, to.gap[at, best], WINDOW_DAYS + 1),
        "twin_difference": np.where(found, off[at, best], NEAR),
        "repeat_habit": habit,
    }


def _habits(history: History, to: Compared, twin: Ints) -> Floats:
    """Return how much of a habit it is to pay the like again so soon, 0 to 1, float64 [P].

    Of the earlier days on which like amounts were paid to the merchant, counts those with as many equal ones as now,
    where the row repeats one of its own day; or, where it repeats one of a day before, those on which an amount of the
    last such day came again as soon. Two more days without are added, so that a repetition or two are no habit.

    Parameters
    ----------
    history, to
        P rows compared with all.
    twin
        int64 [P], which earlier row each may repeat; -1 for none.
    """
    habits = np.zeros(len(twin))
    cents = np.round(history.amounts * 100).astype(np.int64)
    for at in np.flatnonzero(twin >= 0).tolist():
        row = history.judged[at]
        known = to.columns[at, to.known[at]]
        like = known[np.abs(cents[known] - cents[row]) <= LIKE * abs(cents[row])]
        counts: dict[int, Counter[int]] = {}
        for day, amount in zip(history.days[like].tolist(), cents[like].tolist(), strict=True):
            counts.setdefault(day, Counter())[amount] += 1
        today = int(history.days[row])
        now = counts.pop(today, Counter())[int(cents[row])] + 1
        gap = today - int(history.days[twin[at]])
        if gap == 0:
            times, chances = sum(max(one.values()) >= now for one in counts.values()), len(counts)
        else:
            pairs = list(itertools.pairwise(counts.items()))
            times = sum(day - last <= gap and bool(one & other) for (last, other), (day, one) in pairs)
            chances = len(pairs)
        habits[at] = times / (chances + 2) if times > 1 else 0.0
    return habits


def _amounts(history: History, to: Compared) -> tuple[Floats, Columns]:
    """Hold the amount against the merchant's earlier ones and against the user's."""
    sizes = np.log(np.maximum(np.abs(history.amounts), 0.01))
    own, seen = sizes[history.judged], to.visits > 0
    past = np.where(to.known, sizes[to.columns], np.nan)
    middle = median(past)
    spread = np.where(to.visits > 1, 1.4826 * median(np.abs(past - middle[:, None])), _PRIOR_SPREAD)
    # a profile of few visits is mistrusted: its spread is drawn towards the one of merchants in general
    weight = to.visits / (to.visits + _PRIOR_ROWS)
    spread = np.sqrt(weight * np.maximum(spread, 0.02) ** 2 + (1 - weight) * _PRIOR_SPREAD**2)
    highest = np.where(to.known, past, -np.inf).max(axis=1)
    towards = (history.amounts[history.judged] > 0).astype(np.int64)
    user_middle, user_spread = _user(sizes, history.amounts > 0)
    larger = to.before & (sizes[None, :] >= own[:, None])
    return np.exp(middle), {
        "amount_vs_merchant": np.where(seen, (own - middle) / spread, 0.0),
        "merchant_spread": spread,
        "amount_vs_highest": np.where(seen, own - np.where(seen, highest, 0.0), 0.0),
        "amount_vs_user": (own - user_middle[towards]) / user_spread[towards],
        "amount_rank": larger.sum(axis=1) / np.maximum(to.before.sum(axis=1), 1),
        "incoming": towards,
    }


def _rhythm(history: History, to: Compared) -> Columns:
    """Hold the day against the merchant's earlier ones: the gap against the usual gap, the day of the month too."""
    past = _days(history, to)
    at = np.arange(len(past))
    last = np.where(to.visits > 0, past[at, np.maximum(to.visits - 1, 0)], np.nan)
    today = history.days[history.judged]
    since = np.log1p(today - last)
    gaps = np.full(past.shape, np.nan)
    gaps[:, 1:] = past[:, 1:] - past[:, :-1]
    settled = to.visits >= 3
    of_month = _day_of_month(np.concatenate([np.where(to.known, past, 0), today[:, None]], axis=1))
    apart = np.abs(of_month[:, :-1] - of_month[:, -1:])
    apart = np.where(to.known, np.minimum(apart, 31 - apart), np.nan)
    usual, usually_apart = median(np.concatenate([gaps, apart])).reshape(2, -1)
    return {
        "days_since_merchant": np.where(to.visits > 0, since, _NEVER),
        "gap_vs_usual": np.where(settled, since - np.log1p(usual), 0.0),
        "day_shift": np.where(settled, usually_apart, 0.0),
        "weekend": (today + 3) % 7 >= 5,  # 1970-01-01 was a Thursday
    }


def _bursts(history: History, to: Compared) -> tuple[tuple[Ints, Ints, Floats], Columns]:
    """Count what happens within `BURST_DAYS`, and how unlikely so much is at the user's and the merchant's rates."""
    span = np.maximum(history.days[history.judged] - history.days[0], 1)
    near: Bools = to.way & (to.gap >= 0) & (to.gap < BURST_DAYS)
    burst, at_merchant = near.sum(axis=1), (near & (to.alike >= SAME)).sum(axis=1)
    older = to.gap >= BURST_DAYS
    # one a day, and one merchant's in ten days, until the user is known
    per_day = ((to.before & older).sum(axis=1) + 3.0) / (span + 3.0)
    # a merchant's rate is that since its first visit: a habit of ten days is one
    first = history.days[to.columns[:, 0]]
    since = np.where(to.visits > 0, history.days[history.judged] - first, span)
    merchant_per_day = ((to.merchant & older).sum(axis=1) + 0.3) / (since + 3.0)
    return (burst, at_merchant, per_day), {
        "burst": _surprise(burst, per_day * BURST_DAYS),
        "burst_merchant": _surprise(at_merchant, merchant_per_day * BURST_DAYS),
        "history_rows": np.log1p(history.judged),
        "history_days": np.log1p(span),
    }


def _merchants(history: History, to: Compared) -> Columns:
    return {
        "merchant_new": to.visits == 0,
        "merchant_count": np.log1p(to.visits),
        "merchant_similarity": np.where(to.before, to.alike, 0.0).max(axis=1),
        "new_words": new_words(history.keys, history.judged),
    }


def _days(history: History, to: Compared) -> Floats:
    """Return the days of the merchant's earlier rows, float64 [P, K], NaN where there is none."""
    return np.where(to.known, history.days[to.columns], np.nan)


def _day_of_month(days: NDArray[Any]) -> NDArray[np.int64]:
    dates = days.astype("datetime64[D]")
    numbers: NDArray[np.int64] = (dates - dates.astype("datetime64[M]")).astype(np.int64)
    return numbers


def _user(sizes: Floats, incoming: Bools) -> tuple[Floats, Floats]:
    """Return median and robust spread of logarithmic amounts, of those spent and those that came in; NaN of none."""
    ways = np.where(np.stack([~incoming, incoming]), sizes, np.nan)
    middles = median(ways)
    return middles, np.maximum(0.3, 1.4826 * median(np.abs(ways - middles[:, None])))


def _surprise(count: Ints, expected: Floats) -> Floats:
    """Return how unlikely so many are, by the exponent of Chernoff's bound for a Poisson variable; 0 for few."""
    more = np.maximum(count, 1)
    exponent = more * np.log(more / expected) - more + expected
    return np.where(count > expected, exponent, 0.0)

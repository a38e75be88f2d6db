"""How synthetic households spend by card: habits by category, favourite shops, and the seasons they follow.

What comes every month is in `budget_contracts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.budget.synthetic.local_names import CITIES, TELLING, brands, local
from training.budget.synthetic.merchants import Merchant, chains

Array = npt.NDArray[Any]

# Payments a month, share of them at chains, and how far the favourite shops carry.
HABITS: Final = {
    "alimentation": (11.0, 0.68, 6), "restaurants": (8.0, 0.32, 6), "transport": (4.0, 0.6, 4),
    "carburant": (2.4, 0.84, 3), "sante": (1.7, 0.2, 4), "loisirs": (2.6, 0.5, 5), "voyages": (0.55, 0.6, 3),
    "habillement": (1.6, 0.66, 5), "maison": (1.6, 0.62, 5), "high_tech": (0.4, 0.76, 3), "enfants": (1.6, 0.5, 4),
    "beaute": (0.8, 0.36, 3), "animaux": (1.2, 0.42, 3),
}  # fmt: skip
# Share of a chain's payments that go to a brand without rules.
UNHEARD: Final = 0.2
# Weight of each month from January; a year's mean is about 1.
SEASONS: Final = {
    "alimentation": (0.95, 0.93, 0.97, 1, 1, 1, 0.95, 0.85, 1, 1, 1, 1.35),
    "restaurants": (0.9, 0.9, 1, 1, 1.05, 1.1, 1.15, 0.9, 1, 1, 0.95, 1.1),
    "transport": (1, 1, 1, 1, 1, 1, 0.9, 0.7, 1.1, 1.1, 1.1, 1.05),
    "carburant": (0.9, 0.9, 0.95, 1, 1.05, 1.05, 1.35, 1.3, 0.9, 0.95, 0.9, 1.05),
    "sante": (1.2, 1.15, 1.1, 1, 1, 0.95, 0.8, 0.6, 1.05, 1.1, 1.1, 1.05),
    "loisirs": (0.9, 0.9, 0.9, 0.95, 0.95, 1, 1.1, 0.9, 0.95, 0.95, 1.05, 1.7),
    "voyages": (0.5, 1.2, 0.6, 0.9, 1, 1.3, 2.6, 2.1, 0.5, 0.8, 0.4, 0.8),
    "habillement": (1.5, 0.8, 0.8, 0.9, 0.95, 1.1, 1.2, 0.6, 1.1, 0.9, 1, 1.4),
    "maison": (0.8, 0.8, 1.1, 1.3, 1.3, 1.15, 0.9, 0.8, 1.05, 0.95, 0.95, 1.1),
    "high_tech": (0.9, 0.7, 0.7, 0.75, 0.8, 0.8, 0.9, 0.8, 1.1, 0.9, 1.6, 2.2),
    "enfants": (0.8, 0.8, 0.8, 0.85, 0.85, 0.8, 0.7, 1.1, 2.0, 1, 0.95, 1.9),
    "beaute": (0.9, 0.9, 0.95, 1, 1.1, 1.05, 0.95, 0.8, 1, 1, 1, 1.5),
    "energie": (1.9, 1.8, 1.4, 0.9, 0.6, 0.4, 0.35, 0.35, 0.5, 0.9, 1.4, 1.7),
}  # fmt: skip
# Weight of each day from Monday; missing ones are even.
WEEKS: Final = {
    "alimentation": (0.8, 0.8, 0.9, 0.8, 1.2, 2, 0.6), "restaurants": (0.8, 0.8, 0.9, 1, 1.5, 1.7, 0.9),
    "transport": (1.2, 1.2, 1.2, 1.2, 1.2, 0.6, 0.4), "sante": (1.3, 1.2, 1.2, 1.2, 1.2, 0.7, 0.05),
    "habillement": (0.6, 0.7, 1, 0.7, 1, 2.4, 0.3), "maison": (0.7, 0.7, 0.8, 0.7, 1, 2.4, 0.8),
}  # fmt: skip


@dataclass(frozen=True)
class Household:
    """Who spends: level and structure of a budget.

    `growth` is a year's, as a share; `city` a position in `CITIES`; `world` says which shops and brands there are.
    """

    income: float
    children: int
    car: bool
    pet: bool
    owner: bool
    city: int
    growth: float
    telling: float
    world: int
    habits: dict[str, float]


@dataclass(frozen=True)
class Flow:
    """Bookings of one kind of one household, before anyone wrote a label.

    Days datetime64[D] [N], amounts in EUR [N], negative when spent; who was paid, how that is written, where, and the
    words that came with a transfer.
    """

    days: Array
    amounts: Array
    operation: str
    category: str
    names: Sequence[str]
    written: Sequence[str]
    cities: Sequence[str]
    motives: Sequence[str]


@dataclass(frozen=True)
class Months:
    """Consecutive months: first days datetime64[D] [M], how many days each has [M], and its number from 0 [M]."""

    starts: Array
    lengths: Array
    of_year: Array


def months_from(start: str, count: int) -> Months:
    """Return `count` months from the month ``yyyy-mm``."""
    months = np.datetime64(start, "M") + np.arange(count + 1)
    days = months.astype("datetime64[D]")
    lengths = np.diff(days).astype(np.int64)
    return Months(days[:-1], lengths, months[:-1].astype(np.int64) % 12)


def household(rng: np.random.Generator, telling: float, world: int) -> Household:
    """Draw a household."""
    children = int(rng.choice(4, p=[0.55, 0.18, 0.19, 0.08]))
    habits = {category: float(np.exp(rng.normal(0, 0.45))) for category in HABITS}
    car, pet = bool(rng.random() < 0.72), bool(rng.random() < 0.35)
    habits["enfants"] *= children * 0.8
    habits["carburant"] *= car
    habits["animaux"] *= pet
    habits["transport"] *= 0.6 if car else 1.4
    return Household(
        income=float(np.exp(rng.normal(np.log(2500), 0.38))),
        children=children,
        car=car,
        pet=pet,
        owner=bool(rng.random() < 0.4),
        city=min(int(rng.zipf(1.4)) - 1, int(rng.integers(len(CITIES)))),
        growth=float(rng.normal(0.035, 0.03)),
        telling=telling,
        world=world,
        habits=habits,
    )


@cache
def town(category: str, city: int, telling: float, world: int) -> tuple[Merchant, ...]:
    """Return the local shops of a category in a city: in one world the same ones for everyone who lives there."""
    rng = np.random.default_rng([20_27, world, city, sorted(TELLING).index(category)])
    return tuple(local(rng, category, 14, telling))


def spending(rng: np.random.Generator, who: Household, category: str, when: Months, scale: float) -> Flow | None:
    """Return what a household pays by card in one category, or None where it pays nothing."""
    rate, chain_share, favourites = HABITS[category]
    years = np.arange(len(when.starts)) / 12
    season = np.array(SEASONS.get(category, (1,) * 12))[when.of_year]
    expected = (
        rate * who.habits[category] * season * (1 + who.growth / 2) ** years * np.exp(rng.normal(0, 0.12, len(season)))
    )
    counts = rng.poisson(expected)
    total = int(counts.sum())
    if not total:
        return None
    month = np.repeat(np.arange(len(counts)), counts)
    days = _weekly(rng, when.starts[month] + within(rng, when.lengths[month]), category)
    shops, chosen = _shops(rng, who, category, chain_share, favourites, total)
    # dearer and cheaper by shop, dearer by the year; the household's own level is in `scale`
    medians, spreads = np.array([one.median for one in shops]), np.array([one.spread for one in shops])
    amounts = (
        medians[chosen] * scale * (1 + who.growth) ** years[month] * np.exp(spreads[chosen] * rng.normal(size=total))
    )
    cents = np.array([one.cents for one in shops])[chosen]
    away = (rng.random(total) < (0.75 if category == "voyages" else 0.05)) | np.isin(when.of_year[month], (6, 7)) & (
        rng.random(total) < 0.3
    )
    cities = [CITIES[at] for at in np.where(away, rng.integers(len(CITIES), size=total), who.city).tolist()]
    ways = rng.random(total).tolist()
    chosen_shops = [shops[at] for at in chosen.tolist()]
    return Flow(
        days=days,
        amounts=-_ending(amounts, cents),
        operation="card",
        category=category,
        names=[one.name for one in chosen_shops],
        written=[one.written[int(way * len(one.written))] for one, way in zip(chosen_shops, ways, strict=True)],
        cities=[city if one.local else "" for one, city in zip(chosen_shops, cities, strict=True)],
        motives=[""] * total,
    )


def _shops(
    rng: np.random.Generator, who: Household, category: str, chain_share: float, favourites: int, total: int
) -> tuple[list[Merchant], Array]:
    """Choose where each payment goes: mostly to a few favourites, sometimes to a shop met once."""
    national, unheard, here = (
        chains()[category],
        brands(category, who.world),
        town(category, who.city, who.telling, who.world),
    )

    def some(chained: bool) -> Merchant:
        of = (unheard if rng.random() < UNHEARD else national) if chained else here
        return of[int(rng.integers(len(of)))]

    usual = [some(bool(rng.random() < chain_share)) for _ in range(favourites)]
    weights = 1 / np.arange(1, favourites + 1)
    chosen = rng.choice(favourites, size=total, p=weights / weights.sum())
    novel = np.flatnonzero(rng.random(total) < (0.5 if category == "voyages" else 0.22))
    chain = rng.random(len(novel)) < chain_share * 0.7
    shops = [*usual, *(some(True) for _ in range(int(chain.sum())))]
    shops += local(rng, category, int((~chain).sum()), who.telling)
    chosen[novel] = favourites + np.argsort(np.argsort(~chain, kind="stable"), kind="stable")
    return shops, chosen


def within(rng: np.random.Generator, lengths: Array) -> Array:
    """Return a day of each month, from 0, given how many days it has."""
    return (rng.random(len(lengths)) * lengths).astype(np.int64)


def _weekly(rng: np.random.Generator, days: Array, category: str) -> Array:
    # each payment moves to a day of its own week, but not into another month
    if category not in WEEKS:
        return days
    weights = np.array(WEEKS[category])
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    moved = days + (rng.choice(7, size=len(days), p=weights / weights.sum()) - weekday)
    same = moved.astype("datetime64[M]") == days.astype("datetime64[M]")
    kept: Array = np.where(same, moved, days)
    return kept


def _ending(amounts: Array, cents: Array) -> Array:
    whole = np.maximum(np.round(amounts), 1)
    endings = {"99": np.maximum(whole - 0.01, 0.99), "50": np.maximum(np.round(amounts * 2) / 2, 0.5), "00": whole}
    ended = np.round(np.maximum(amounts, 0.5), 2)
    for name, value in endings.items():
        ended = np.where(cents == name, value, ended)
    return ended

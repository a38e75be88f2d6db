"""How the judge fares where clients are unlike: how often it accuses a good canary, and how soon it catches a bad one.

    python -m benchmarks.judge_clients                                # the tables of docs/JUDGE.md; an hour of a core
    python -m benchmarks.judge_clients --tables alike --rollouts 200       # one of alike, limit, power; more roughly

Cases are printed as they are done, then the tables.

Clients keep their version (sessions), ask at rates of a heavy tail (Pareto, 1.2) and are unlike: a share of them is odd
and fails, is slow or is mislabelled at some rate in any version. 100 requests come a second for an hour; of the clients
5 %, or another --share, are the canary's. Beside this judge stands one that takes requests for independent and is
otherwise the same.
"""

import argparse
import itertools
import math
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from marina.rollout import interim_looks
from marina.rollout.judge import client_ranks
from marina.rollout.judge.client_looks import log_part
from marina.rollout.judge.decision import decides
from marina.rollout.judge.e_values import above, below, between
from marina.rollout.policy.schema import Policy, read_policy
from training.progress import counted

PER_S = 100.0
TAIL = 1.2
HALF = math.log(2)

NEEDED = math.log(3 / 0.05)
"""Where a judge decides that takes requests for independent: it divides its error budget by gates alone."""

BETWEEN = 4
"""Moments from one look to the next, at which requests are counted."""

DRAWS = 40
"""Times that clients are sampled again for the versions from one population of them, where versions are alike."""

SESSIONS = (50, 400, 2_000, 20_000)
ODD = tuple(itertools.product((0.005, 0.02, 0.05), (0.1, 0.3, 0.9)))
"""Shares of the clients that are odd, and of their requests that go wrong."""

Kind = Literal["errors", "latency", "accuracy"]
USUAL: dict[Kind, float] = {"errors": 0.002, "latency": 0.02, "accuracy": 0.1}
StandIn = Literal["no", "shared", "again"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One kind of traffic.

    Attributes
    ----------
    kind
        What goes wrong.
    clients
        How many there are.
    odd, odd_rate
        Share of the clients of which more goes wrong, in any version, and what share of their requests.
    harm
        Share of further requests that go wrong in the canary.
    share, seconds
        Of the clients, the canary's, and for how long they ask.
    stand_in
        Whether a failed request of the canary is asked of stable too, and fails there as well (shared), or as often as
        any of its client's (again).
    """

    kind: Kind
    clients: int
    odd: float = 0.0
    odd_rate: float = 0.0
    harm: float = 0.0
    share: float = 0.05
    seconds: float = 3600.0
    stand_in: StandIn = "no"


@dataclass(frozen=True)
class Outcome:
    """When each of many rollouts was decided, in seconds; infinity where none was.

    Attributes
    ----------
    harm
        Found by the gate.
    crowd
        Found by its comparison of clients alone, without which the gate finds none.
    requests
        Found by a judge that takes requests for independent.
    fine
        When the gate found that no harm is done.
    """

    harm: Floats
    crowd: Floats
    requests: Floats
    fine: Floats

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(*(np.concatenate([one, two]) for one, two in zip(self.all(), other.all(), strict=True)))

    def all(self) -> tuple[Floats, ...]:
        """Return them in order."""
        return self.harm, self.crowd, self.requests, self.fine


def simulate(case: Case, rollouts: int, policy: Policy, seed: int = 0) -> Outcome:
    """Simulate rollouts of one kind."""
    rng = np.random.default_rng(seed)
    draws = min(rollouts, DRAWS if case.harm == 0 else 2)
    parts = [_judge(case, draws, policy, rng) for _ in range(-(-rollouts // draws))]
    return sum(parts[1:], parts[0])


def _judge(case: Case, draws: int, policy: Policy, rng: np.random.Generator) -> Outcome:
    """Draw one population, and versions for its clients a number of times."""
    between_looks = 1 if case.harm == 0 else BETWEEN
    numbers = range(interim_looks.number(PER_S * case.seconds, case.share) + 1)
    first = interim_looks.due_at(0, case.share) / PER_S
    times = first * interim_looks.GROWTH ** (np.arange(len(numbers) * between_looks) / between_looks)
    asked, wrong = _population(case, times, rng)  # (T, N) each
    theirs = _of_canary(case, asked, wrong, rng)
    canary = _Sample.of(rng.random((draws, case.clients)) < case.share)
    limit, accept = getattr(policy.gates, case.kind).limit, getattr(policy.gates, case.kind).accept
    needed, fine_needed = decides(policy, case.kind, 0)

    of1, wrong1 = canary.sums(asked), canary.sums(theirs)  # (draws, T)
    of0, wrong0 = asked.sum(axis=1) - of1, wrong.sum(axis=1) - canary.sums(wrong)
    by = limit if case.kind == "accuracy" else 0.0
    beyond = _between(wrong0, of0, wrong1, of1, by) if by else above(wrong1, of1, limit)
    alike = beyond if by else np.minimum(beyond, _between(wrong0, of0, wrong1, of1, 0.0, beyond >= NEEDED))
    halves = HALF * (2 if by else 1)
    crowd = np.full(of1.shape, -np.inf)
    for number in numbers:
        place = number * between_looks
        crowd[:, place:] = (_look(canary, asked[place], wrong[place], theirs[place]) + log_part(number) - halves)[
            :, None
        ]
    part = interim_looks.capped_of(asked) / np.maximum(asked, 1)
    of1, wrong1 = canary.sums(asked * part), canary.sums(theirs * part)
    of0, wrong0 = (asked * part).sum(axis=1) - of1, (wrong * part).sum(axis=1) - canary.sums(wrong * part)
    fine = (_between(wrong1, of1, wrong0, of0, -accept) if by else below(wrong1, of1, accept)) - HALF
    return Outcome(
        _first(np.minimum(crowd, beyond - (halves if by else 0)) >= needed, times),
        _first(crowd >= needed, times),
        _first(alike >= NEEDED, times),
        _first(fine >= fine_needed, times),
    )


@dataclass(frozen=True)
class _Sample:
    """Which clients are the canary's, draw by draw."""

    draw: NDArray[np.int64]
    client: NDArray[np.int64]
    draws: int

    @staticmethod
    def of(mine: NDArray[np.bool_]) -> "_Sample":
        """Take them from a table. ``[draws, N]``."""
        draw, client = np.nonzero(mine)
        return _Sample(draw, client, len(mine))

    def sums(self, counts: NDArray[Any]) -> Floats:
        """Add up what the canary's clients have, at each moment. ``[draws, T]``."""
        return np.stack([np.bincount(self.draw, each[self.client], self.draws) for each in counts], axis=1)

    def by_class(self, classes: NDArray[np.int64], size: int) -> Floats:
        """Count the canary's clients by class. ``[draws, size]``."""
        flat = np.bincount(self.draw * size + classes[self.client], minlength=self.draws * size)
        return flat.reshape(self.draws, size).astype(np.float64)


def _population(case: Case, times: Floats, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how many requests each client has made at each moment, and how many of them went wrong."""
    rates = rng.pareto(TAIL, case.clients) + 0.01
    rates *= PER_S / rates.sum()
    rate = np.where(rng.random(case.clients) < case.odd, case.odd_rate, USUAL[case.kind])
    between_s = np.diff(times, prepend=0.0)[:, None]
    wrong = rng.poisson(between_s * rates * rate)
    asked = wrong + rng.poisson(between_s * rates * (1 - rate))
    return asked.cumsum(axis=0), wrong.cumsum(axis=0)


def _of_canary(case: Case, asked: NDArray[Any], wrong: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return how many requests of each client go wrong by the canary's fault if it is the canary's."""
    if case.stand_in == "shared":
        failed = np.zeros_like(wrong)
    elif case.stand_in == "again":
        again = (wrong[-1] + 1) / (asked[-1] + 2)
        failed = rng.binomial(np.diff(wrong, axis=0, prepend=0), 1 - again).cumsum(axis=0)
    else:
        failed = wrong
    if not case.harm:
        return failed
    left = np.diff(asked, axis=0, prepend=0) - np.diff(wrong, axis=0, prepend=0)
    more: NDArray[Any] = failed + rng.binomial(left, case.harm).cumsum(axis=0)
    return more


def _between(
    x0: Floats, n0: Floats, x1: Floats, n1: Floats, by: float, where: "NDArray[np.bool_] | bool" = True
) -> Floats:
    """Compare rates, but where they are not asked for, or not that way round."""
    some = where & (x1 * n0 > (x0 + by * n0) * n1)
    found = np.zeros(n1.shape)
    found[some] = between(x0[some], n0[some], x1[some], n1[some], by)
    return found


def _look(canary: _Sample, asked: NDArray[Any], wrong: NDArray[Any], theirs: NDArray[Any]) -> Floats:
    """Return the evidence of a look for each draw; clients that have not asked yet are in a class of their own."""
    there, capped = asked > 0, interim_looks.capped_of(asked) / np.maximum(asked, 1)
    more = (theirs - wrong) * capped
    usual = (wrong * capped).sum() + (canary.sums(more[None])[:, 0] if more.any() else np.zeros(canary.draws))
    usual /= max(1, (asked * capped).sum())
    found = np.zeros(canary.draws)
    for share in np.unique(usual):  # draws of which as much went wrong have the same classes
        mine, others = (
            np.where(there, interim_looks.rate_class(each, asked, share), interim_looks.LEAST - 1)
            for each in (theirs, wrong)
        )
        classes = np.unique(np.concatenate([mine, others, [interim_looks.LEAST - 1]]))
        places = np.searchsorted(classes, others)
        all_ = np.bincount(places, minlength=len(classes)) - canary.by_class(places, len(classes))
        crowd = canary.by_class(np.searchsorted(classes, mine), len(classes))
        same = usual == share
        found[same] = client_ranks.behind(all_[same, 1:], crowd[same, 1:])
    return found


def _first(decided: NDArray[np.bool_], times: Floats) -> Floats:
    return np.where(decided.any(axis=1), times[decided.argmax(axis=1)], np.inf)


def upper_bound(count: int, of: int) -> float:
    """Return the 95 % upper bound of a rate (Clopper & Pearson, 1934, one-sided)."""
    low, high = count / of, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        terms = np.arange(count + 1)
        logs = [math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in terms.tolist()]
        tail = np.exp(np.array(logs) + terms * math.log(middle) + (of - terms) * math.log1p(-middle)).sum()
        low, high = (middle, high) if tail > 0.05 else (low, middle)
    return high


@dataclass(frozen=True)
class Accused:
    """How many canaries, no worse than stable, were accused among the simulated ones, in each of the kinds of traffic.

    Attributes
    ----------
    kinds
        Which; of a row of several kinds the worst is shown.
    gate, crowd, requests
        By the gate, by its comparison of clients alone, and by a judge that takes requests for independent.
    """

    kinds: tuple[Case, ...]
    rollouts: int
    gate: tuple[int, ...]
    crowd: tuple[int, ...]
    requests: tuple[int, ...]

    def __add__(self, other: "Accused") -> "Accused":
        counts = (getattr(self, name) + getattr(other, name) for name in ("gate", "crowd", "requests"))
        return Accused(self.kinds + other.kinds, self.rollouts, *counts)

    def row(self) -> list[str]:
        """Return a row of the table."""
        case = self.kinds[0]
        stand_in = {"no": "no", "shared": "fails too", "again": "tries again"}[case.stand_in]
        odd = "each" if len(self.kinds) > 1 else f"{100 * case.odd:g} % at {100 * case.odd_rate:g} %"
        worst = [f"{100 * max(each) / self.rollouts:.2f} %" for each in (self.gate, self.crowd)]
        bounds = [f"{100 * upper_bound(max(each), self.rollouts):.2f} %" for each in (self.gate, self.crowd)]
        least, most = (100 * end(self.requests) / self.rollouts for end in (min, max))
        independent = f"{most:.1f} %" if least == most else f"{least:.1f} to {most:.1f} %"
        return [case.kind, f"{case.clients:,}", stand_in, odd, worst[0], bounds[0], worst[1], bounds[1], independent]


def alike(case: Case, rollouts: int, policy: Policy, seed: int) -> Accused:
    """Count accusations of canaries that are no worse than stable."""
    found = simulate(case, rollouts, policy, seed)
    hits = [(int(np.isfinite(each).sum()),) for each in (found.harm, found.crowd, found.requests)]
    return Accused((case,), len(found.harm), *hits)


def at_limit(kind: Kind, clients: int, rollouts: int, policy: Policy, seed: int, share: float) -> list[str]:
    """Return a row: a canary that is worse than stable, as far as it may be, among clients that are unlike."""
    odd, rate = 0.02, 0.3 if kind == "errors" else 0.9
    limit = getattr(policy.gates, kind).limit
    usual = USUAL[kind] * (1 - odd) + odd * rate
    harm = limit if kind == "accuracy" else max(0.0, limit - usual)
    found = simulate(Case(kind, clients, odd, rate, harm / (1 - usual), share), rollouts, policy, seed)
    shares = [f"{100 * np.isfinite(each).mean():.1f} %" for each in (found.harm, found.requests)]
    return [kind, f"{clients:,}", f"{100 * usual:.1f} % + {100 * harm:.1f}", *shares]


def power(kind: Kind, clients: int, harm: float, rollouts: int, policy: Policy, seed: int, share: float) -> list[str]:
    """Return a row: how soon a canary is caught that is worse by that much, or found to do no harm."""
    found = simulate(Case(kind, clients, 0.02, 0.3, harm, share), rollouts, policy, seed)

    def format_rates(each: Floats) -> str:
        median = float(np.median(each))
        return f"{100 * np.isfinite(each).mean():.0f} %, " + (f"{median:,.0f} s" if np.isfinite(median) else "later")

    by = "none" if not harm else f"{100 * harm:g} %"
    return [kind, f"{clients:,}", by, format_rates(found.harm), format_rates(found.requests), format_rates(found.fine)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


HEADS = {
    "alike": [
        *("gate", "clients", "stand-in", "odd clients", "rolled back", "at most", "clients alone", "at most"),
        "requests as independent",
    ],
    "limit": ["gate", "clients", "wrong in stable + canary", "rolled back", "requests as independent"],
    "power": ["gate", "clients", "more go wrong", "caught", "requests as independent", "found fine"],
}

Row = list[str] | Accused


def work(of: str, rollouts: int, policy: Policy, seed: int, share: float) -> Sequence[Callable[[], Row]]:
    """Return what makes the cases of a table."""
    kinds: tuple[Kind, ...] = ("errors", "latency", "accuracy")
    if of == "alike":
        stand_ins: tuple[StandIn, ...] = ("shared", "again")
        traffic: list[tuple[Kind, int, StandIn]] = [(kind, clients, "no") for kind in kinds for clients in SESSIONS]
        traffic += [("errors", clients, stand_in) for clients in SESSIONS for stand_in in stand_ins]
        cases = [Case(one[0], one[1], *odd, share=share, stand_in=one[2]) for one in traffic for odd in ODD]
        return [partial(alike, case, rollouts, policy, seed) for case in cases]
    if of == "limit":
        some = [(kind, clients, rollouts // 10) for kind in kinds for clients in SESSIONS]
        return [partial(at_limit, *each, policy, seed, share) for each in some]
    harms: dict[Kind, tuple[float, ...]]
    harms = {"errors": (1.0, 0.05, 0.03, 0.02), "latency": (0.2, 0.1), "accuracy": (0.1, 0.05)}
    bad = ((kind, clients, harm) for kind in kinds for harm in (*harms[kind], 0.0) for clients in SESSIONS)
    return [partial(power, *each, rollouts // 20, policy, seed, share) for each in bad]


def worst(rows: Sequence[Row]) -> list[list[str]]:
    """Return a table's rows, of which those of the same gate, number of clients and stand-in are one, of the worst."""
    others = [row for row in rows if not isinstance(row, Accused)]
    same: dict[tuple[str, int, str], Accused] = {}
    for row in rows:
        if isinstance(row, Accused):
            key = row.kinds[0].kind, row.kinds[0].clients, row.kinds[0].stand_in
            same[key] = same[key] + row if key in same else row
    return others + [one.row() for one in same.values()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rollouts", type=int, default=2000, help="a case; a tenth or less of it where versions differ"
    )
    parser.add_argument("--tables", nargs="+", choices=HEADS, default=list(HEADS), help="which (default: all)")
    parser.add_argument("--share", type=float, default=0.05, help="of the clients: the canary's (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every case (default: %(default)s)")
    options = parser.parse_args()
    if not 0 < options.share < 1:
        parser.error("--share: between 0 and 1")
    policy, console = read_policy(), Console(stderr=True, soft_wrap=True)
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in options.tables:
            due = [pool.submit(one) for one in work(name, options.rollouts, policy, options.seed, options.share)]
            rows: list[Row] = []
            with counted(console, name, len(due)) as shown:
                for one in due:
                    rows.append(one.result())
                    shown(" | ".join(worst(rows[-1:])[0]))
            print(f"{table(HEADS[name], worst(rows))}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

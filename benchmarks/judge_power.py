"""How soon the judge catches a bad canary, and how often it accuses a good one, beside two usual rules.

    python -m benchmarks.judge_power                       # prints the table of docs/JUDGE.md; about 20 s
    python -m benchmarks.judge_power --rollouts 2000 --picture docs/judge_power.svg

Requests come without sessions; judge_clients.py has those of clients. The same ones go to three judges, each asked
every 20 of the canary's: this project's, which sees stable's 19 in 20 too; "three strikes" (three windows of 100
requests in a row beyond the limit); and a one-sided z-test at 5 % that is looked at every time.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from marina.rollout.judge.decision import decides
from marina.rollout.judge.e_values import above, between, pairs_above
from marina.rollout.policy.schema import Policy, read_policy
from training.progress import counted

EVERY = 20
STABLES = 19
"""Requests of stable's for each of the canary's, at a share of 5 %."""
STABLE_FAILS = 0.005
WINDOW = 100
Z05 = 1.6449
HALF = math.log(2)
"""Requests without a session have half of the error budget, as clients have; of labels, those apart half of that."""

Counts = NDArray[np.int64]
Rule = Callable[[Counts, Counts], NDArray[np.bool_]]
"""Successes so far [rollouts, looks] and observations so far [looks], to whether it is rolled back there."""


@dataclass(frozen=True)
class Case:
    """One kind of canary: how it is called, whether it is within the limits, and what each judge makes of it."""

    gate: str
    canary: str
    allowed: bool
    length: int
    judged: dict[str, NDArray[np.bool_]]


def binary(
    gate: str, rate: float, stable_rate: float, limit: float, called: str, options: argparse.Namespace, policy: Policy
) -> Case:
    """Simulate requests that fail (or are slow) at a rate, beside stable's."""
    looks = np.arange(EVERY, options.requests + 1, EVERY)
    rng = np.random.default_rng(options.seed)
    seen = np.cumsum(rng.binomial(EVERY, rate, (options.rollouts, len(looks))), axis=1)
    stable = np.cumsum(rng.binomial(STABLES * EVERY, stable_rate, seen.shape), axis=1)
    judged = {
        "this judge": harmed(seen, stable, looks, limit, policy),
        "three strikes": strikes(seen, limit),
        "peeked z-test": peeked(seen / looks, looks, limit, limit * (1 - limit)),
    }
    return Case(gate, called, rate <= limit, options.requests, judged)


def harmed(seen: NDArray[Any], stable: NDArray[Any], looks: Counts, limit: float, policy: Policy) -> NDArray[np.bool_]:
    """Roll back as the gates of errors and latency do: beyond the limit, and beyond stable; up to the first time."""
    needed = decides(policy, "errors", 0)[0]  # as in that of latency
    beyond: NDArray[np.bool_] = above(seen, looks, limit) >= needed
    for look, trials in enumerate(looks):
        asked = np.flatnonzero(beyond[:, look] & ~beyond[:, :look].any(axis=1))
        compared = between(stable[asked, look], STABLES * trials, seen[asked, look], trials, 0.0)
        beyond[asked, look] = compared - HALF >= needed
    return beyond


def labelled(drop: float, options: argparse.Namespace, policy: Policy) -> Sequence[Case]:
    """Simulate labels of both versions: as many of each, as many as of its traffic, and in pairs that mostly agree."""
    stable, churn, length = 0.90, 0.01, 5 * options.requests
    looks = np.arange(5 * EVERY, length + 1, 5 * EVERY)
    rng = np.random.default_rng(options.seed)
    shape = (max(50, options.rollouts // 5), len(looks))

    def right(rate: float, times: int = 1) -> Counts:
        return np.cumsum(rng.binomial(5 * EVERY * times, rate, shape), axis=1)

    even, canary = right(stable), right(stable - drop)
    moved = np.cumsum(rng.multinomial(5 * EVERY, [drop + churn, 1 - drop - 2 * churn, churn], shape), axis=1)
    limit = policy.gates.accuracy.limit
    worse, same, better = (moved[..., k] for k in range(3))

    def apart(stables: Counts, times: int) -> dict[str, NDArray[np.bool_]]:
        gap = stables / times - canary
        variance = stable * (1 - stable) / times + (stable - drop) * (1 - stable + drop)
        return {
            "this judge": between(canary, looks, stables, times * looks, limit) - 2 * HALF
            >= decides(policy, "accuracy", 0)[0],
            "three strikes": strikes(gap, limit, 5),
            "peeked z-test": peeked(gap / looks, looks, limit, variance),
        }

    paired = {
        "this judge": pairs_above(worse, same, better, limit) - 2 * HALF >= decides(policy, "accuracy", 0)[0],
        "three strikes": strikes(worse - better, limit, 5),
        "peeked z-test": peeked((worse - better) / looks, looks, limit, drop + 2 * churn),
    }
    called = f"accuracy -{100 * drop:g} points"
    allowed = drop <= limit
    judged = {
        "labels": apart(even, 1),
        "labels, 5 % : 95 %": apart(right(stable, STABLES), STABLES),
        "paired labels": paired,
    }
    return [Case(gate, called, allowed, length, each) for gate, each in judged.items()]


def slow(shift_ms: float, p95_ms: float = 100.0, margin_ms: float = 50.0, sigma: float = 0.5) -> float:
    """Return the share of answers beyond p95 and the margin once log-normal latencies are longer by a shift."""
    median = math.log(p95_ms) - Z05 * sigma
    beyond = (math.log(p95_ms + margin_ms - shift_ms) - median) / sigma
    return round(math.erfc(beyond / math.sqrt(2)) / 2, 4)


def strikes(seen: NDArray[Any], limit: float, scale: int = 1) -> NDArray[np.bool_]:
    """Roll back after three windows in a row beyond the limit."""
    step = WINDOW // EVERY
    windows = np.diff(seen[:, step - 1 :: step], axis=1, prepend=0) / (WINDOW * scale)
    over = windows > limit
    three = over & np.roll(over, 1, axis=1) & np.roll(over, 2, axis=1)
    three[:, :2] = False
    out = np.zeros(seen.shape, bool)
    out[:, step - 1 :: step] = three
    return out


def peeked(mean: NDArray[Any], looks: Counts, limit: float, variance: float) -> NDArray[np.bool_]:
    """Roll back when a z-test that takes every look for the only one says so."""
    rejected: NDArray[np.bool_] = mean > limit + Z05 * np.sqrt(variance / looks)
    return rejected


def format_case(case: Case, judge: str) -> str:
    """Phrase what a judge did: how often, and after how many observations in the median."""
    hit = case.judged[judge]
    caught = hit.any(axis=1)
    when = np.where(caught, (hit.argmax(axis=1) + 1) * case.length / hit.shape[1], np.inf)
    median = np.median(when)
    share = f"{100 * caught.mean():.1f} %"
    return share if case.allowed else f"{share}, {f'{median:,.0f}' if np.isfinite(median) else 'later'}"


def table(cases: Sequence[Case]) -> str:
    """Return the Markdown table."""
    judges = list(cases[0].judged)
    lines = [f"| gate | canary | {' | '.join(judges)} |", "|---|---|" + "---|" * len(judges)]
    for case in cases:
        mark = " (allowed)" if case.allowed else ""
        lines.append(
            f"| {case.gate} | {case.canary}{mark} | {' | '.join(format_case(case, judge) for judge in judges)} |"
        )
    return "\n".join(lines)


def picture(cases: Sequence[Case]) -> Figure:
    """Draw the share rolled back over the number of observations, a panel a case."""
    across = 4
    down = math.ceil(len(cases) / across)
    figure = Figure(figsize=(3.2 * across, 2.3 * down), layout="constrained")
    for place, case in enumerate(cases):
        axes = figure.add_subplot(down, across, place + 1)
        for judge, hit in case.judged.items():
            seen = np.arange(1, hit.shape[1] + 1) * case.length / hit.shape[1]
            share = np.maximum.accumulate(hit, axis=1).mean(axis=0)
            axes.plot(seen[::5], share[::5], label=judge)
        axes.set_title(f"{case.gate}: {case.canary}" + (" (allowed)" if case.allowed else ""), fontsize=8)
        axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    figure.supxlabel("requests of the canary, or labels", fontsize=8)
    figure.supylabel("share rolled back", fontsize=8)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000, help="simulated rollouts a case (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=4000, help="requests of the canary in each")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--policy", type=Path, help="judge by this policy (default: marina/rollout/policy/default.yaml)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the curves, as .svg or .png")
    options = parser.parse_args()
    policy = read_policy(options.policy) if options.policy else read_policy()
    errors, latency = policy.gates.errors.limit, policy.gates.latency.limit
    cases: list[Case] = []
    work: list[Callable[[], Sequence[Case]]] = [
        *(
            lambda rate=rate: [binary("errors", rate, STABLE_FAILS, errors, f"{100 * rate:g} % fail", options, policy)]
            for rate in (0.006, 0.01, 0.015, 0.02, 0.03, 0.05)
        ),
        *(
            lambda ms=ms: [binary("latency", slow(ms), slow(0), latency, f"+{ms} ms", options, policy)]
            for ms in (0, 50, 80, 120)
        ),
        *(lambda drop=drop: labelled(drop, options, policy) for drop in (0.0, 0.02, 0.03, 0.05)),
    ]
    console = Console(stderr=True)
    with counted(console, "simulating", len(work)) as shown:
        for one in work:
            cases += one()
            shown(cases[-1].canary)
    print(table(cases))
    if options.picture:
        picture(cases).savefig(options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How often a shadow version's first answer is another than the live one's, for Prometheus.

It is a metric of two versions with an alert of its own, and no drift stream: archives hold no reference of it, so there
is no mean from which it could have moved, only one that it should not exceed. The interval is a confidence sequence, so
the alert on its lower end may be evaluated at every scrape: it fires wrongly for at most 5 % of the rollouts whose
requests are independent, however long they are.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from marina.database.tables import ROLLOUTS, SHADOW_PAIRS
from marina.events.exposition import Row, write_family

ALPHA = 0.05

HALVINGS = 30


PAUSE = 100
"""So many times as long as it took to count is not counted again: pairs may be millions, and scrapes are frequent."""


class ShadowMetrics:
    """Counts the pairs of open rollouts, for a hundredth of the time at most.

    Parameters
    ----------
    clock
        In seconds, from anywhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = -math.inf
        self._counted: Sequence[Any] = ()

    def collect(self, connection: sa.Connection, now: float) -> Iterable[list[str]]:
        """Write of each open rollout how many requests both versions answered by a label, and how often they differ."""
        del now
        if (began := self._clock()) >= self._due:
            self._counted = _count(connection)
            ended = self._clock()
            self._due = ended + PAUSE * (ended - began)
        pairs: list[Row] = []
        shares: list[Row] = []
        for model, stable, shadow, count, differing in self._counted:
            of = {"model": model, "stable": stable, "shadow": shadow}
            pairs.append((of, count))
            low, high = interval(int(differing), int(count))
            for bound, value in (("estimate", differing / count), ("lower", low), ("upper", high)):
                shares.append((of | {"bound": bound}, value))
        about = "Requests of an open rollout that both versions answered by a label, the one in the other's shadow."
        yield write_family("marina_shadow_pairs", "gauge", about, pairs)
        about = (
            "In which share of these the first answers differ, with a 95 % interval that holds at all scrapes together "
            "if requests are independent."
        )
        yield write_family("marina_shadow_disagreement_ratio", "gauge", about, shares)


def _count(connection: sa.Connection) -> Sequence[Any]:
    pair, rollout = SHADOW_PAIRS.c, ROLLOUTS.c
    same = (pair.model == rollout.model) & (pair.stable == rollout.stable) & (pair.shadow == rollout.canary)
    both = pair.stable_label.is_not(None) & pair.shadow_label.is_not(None) & (pair.time >= rollout.started_at)
    keys = (rollout.model, rollout.stable, rollout.canary)
    differ = sa.func.sum(sa.case((pair.stable_label != pair.shadow_label, 1), else_=0))
    counted = (
        sa.select(*keys, sa.func.count(), differ)
        .join_from(ROLLOUTS, SHADOW_PAIRS, same)
        .where(rollout.ended_at.is_(None), both)
        .group_by(*keys)
        .order_by(*keys)
    )
    return connection.execute(counted).all()


def interval(hits: int, trials: int) -> tuple[float, float]:
    """Return a confidence sequence's interval of a share.

    Notes
    -----
    At the true share the ratio of the mixture of all shares by Jeffreys' prior to its likelihood is a martingale
    (Robbins, 1970), so it ever reaches 1 / ALPHA with probability ALPHA at most (Ville, 1939). The interval has the
    shares at which it has not.
    """
    if not trials:
        return 0.0, 1.0
    misses = trials - hits
    mixture = math.lgamma(hits + 0.5) + math.lgamma(misses + 0.5) - math.lgamma(trials + 1) - math.log(math.pi)

    def refuted(share: float) -> bool:
        likelihood = (hits and hits * math.log(share)) + (misses and misses * math.log1p(-share))
        return mixture - likelihood >= -math.log(ALPHA)

    def edge(outer: float, inner: float) -> float:
        for _ in range(HALVINGS):
            middle = (outer + inner) / 2
            outer, inner = (middle, inner) if refuted(middle) else (outer, middle)
        return outer

    observed = hits / trials
    return edge(0.0, observed) if hits else 0.0, edge(1.0, observed) if misses else 1.0

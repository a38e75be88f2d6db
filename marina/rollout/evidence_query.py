"""Evidence out of the database: what the gateway counted, and what labels say of answers.

What the gateway counted was added up by the collector, per step and client (`marina.events.client_tallies`); labels
are counted by `marina.rollout.label_evidence`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.tables import CLIENTS, EVIDENCE, LOOKS, TALLIES
from marina.rollout import interim_looks
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Look, Pairs
from marina.rollout.label_evidence import (
    OF_LABELS,
    KnownLabels,
    by_f1,
    count_labels,
    observe_alarms,
    observe_labels,
    observe_pairs,
)
from marina.rollout.rollouts import Rollout

SETTLED_S = 60.0
"""Labels older than this are seldom added to."""

AGAIN_S = 60.0
"""All labels are counted again after this, or after `RATIO` times what that took, if that is longer."""

RATIO = 200.0

WHOLE = -1
"""The step of looks at labels, which are of the whole rollout."""


def gather(connection: sa.Connection, rollout: Rollout) -> Evidence:
    """Count everything a rollout is judged by.

    Parameters
    ----------
    connection
        To read from.
    rollout
        Whose versions, in which step, and since when.

    Returns
    -------
    Evidence
        Requests for which the gateway chose the version, since the step began; where all are the canary's, stable's are
        those of the step before. Labels of answers that are a label, since the canary was let in; pairs too where both
        versions answered. An answer of which parts are known to be true is right as far as its loss lets it be. Looks
        as they were kept (`due`).
    """
    return _evidence(connection, rollout, count_labels(connection, rollout, -math.inf, math.inf))


class EvidenceQuery:
    """Gathers every second, at a cost that does not grow with the length of the rollout.

    Labels older than a minute are kept as they were counted, newer ones are counted again each time, so nothing is
    counted twice. What comes in late among the older is found when all is counted again: every minute where that is
    cheap, and never for more than half a percent of the time. Nothing has to survive the process: the next one begins
    by counting everything.
    """

    def __init__(self) -> None:
        self._settled: dict[str, _Settled] = {}

    def gather(self, connection: sa.Connection, rollout: Rollout, now: float) -> Evidence:
        """Count as the function `gather` does; `now` is in seconds since 1970."""
        settled = self._settled.get(rollout.model)
        known = (rollout.id, rollout.watched_since)
        until = now - SETTLED_S
        if settled is None or settled.known != known or not settled.at <= now < settled.again_at:
            begin = time.perf_counter()
            labels = count_labels(connection, rollout, -math.inf, until)
            pause = max(AGAIN_S, RATIO * (time.perf_counter() - begin))
            settled = _Settled(known, now, now + pause, until, labels)
        elif until >= settled.until + SETTLED_S:
            labels = settled.labels + count_labels(connection, rollout, settled.until, until)
            settled = dataclasses.replace(settled, until=until, labels=labels)
        self._settled[rollout.model] = settled
        return _evidence(
            connection, rollout, settled.labels + count_labels(connection, rollout, settled.until, math.inf)
        )


@dataclass(frozen=True)
class _Settled:
    known: tuple[int, float | None]
    at: float
    again_at: float
    until: float
    labels: KnownLabels


def due(connection: sa.Connection, rollout: Rollout, evidence: Evidence) -> dict[str, Look]:
    """Take those looks at the clients for which the time has come; they count once they are kept (`keep`).

    Parameters
    ----------
    connection
        To read from.
    rollout, evidence
        Whose, and what is known so far, with the looks before.
    """
    share = rollout.policy.steps[rollout.step].share
    stable, canary, pairs = evidence.stable.of_clients, evidence.canary.of_clients, evidence.pairs_of_clients
    asked = interim_looks.number(stable.requests + canary.requests, share)
    labelled = interim_looks.number(stable.labelled + canary.labelled, share)
    paired = interim_looks.number(pairs.worse + pairs.same + pairs.better, 0.5)
    metric = rollout.policy.test and rollout.policy.test.metric
    wrong: dict[str, sa.ColumnElement[int]] = {"errors": CLIENTS.c.errors, "latency": CLIENTS.c.slow}
    if metric == "errors":
        wrong["failures"] = CLIENTS.c.errors + CLIENTS.c.shared

    def is_due(name: str, number: int) -> bool:
        return number > (evidence.looks[name].number if name in evidence.looks else -1)

    taken = {}
    for name, column in wrong.items():
        if is_due(name, asked):
            of = CLIENTS.c.timed if name == "latency" else CLIENTS.c.requests
            taken[name] = interim_looks.by_rate(asked, _query_requests(connection, rollout, column, of))
    if is_due("accuracy", labelled) and rollout.watched_since is not None:
        taken["accuracy"] = interim_looks.by_rate(labelled, observe_labels(connection, rollout, rollout.watched_since))
        if by_f1(rollout):
            found = observe_alarms(connection, rollout, rollout.watched_since)
            taken["f1"] = interim_looks.by_rate(labelled, found)
    if is_due("pairs", paired):
        taken["pairs"] = interim_looks.by_pairs(paired, observe_pairs(connection, rollout))
    return taken


def keep(connection: sa.Connection, rollout: Rollout, taken: Mapping[str, Look], now: float) -> None:
    """Write looks down in the place of those before; in a writing transaction."""
    for name, look in taken.items():
        key = {"rollout": rollout.id, "step": _step_of(name, rollout), "gate": name}
        mine = sa.and_(*(LOOKS.c[column] == value for column, value in key.items()))
        connection.execute(sa.delete(LOOKS).where(mine))
        seen = json.dumps(look.to_dict(), separators=(",", ":"))
        connection.execute(sa.insert(LOOKS).values(key | {"number": look.number, "time": now, "seen": seen}))


def _step_of(look: str, rollout: Rollout) -> int:
    return WHOLE if look in ("accuracy", "f1", "pairs") else rollout.step


def _evidence(connection: sa.Connection, rollout: Rollout, labels: KnownLabels) -> Evidence:
    pairs, some = labels.pairs.get(False, Pairs()) + labels.pairs.get(True, Pairs()), labels.pairs.get(True, Pairs())
    kept = _looks(connection, rollout)
    if rollout.watched_since is None:
        return Evidence(pairs=pairs, step=rollout.step, pairs_of_clients=some, looks=kept)
    tallied = _tally(connection, rollout)

    def counts(version: str, *sticky: bool) -> dict[str, float]:
        found = tallied.get(version, Counter())
        asked: dict[str, float] = {name: sum(found[kind, name] for kind in sticky) for name in _TALLIED}
        of = {name: sum(getattr(labels, name)[version, kind] for kind in sticky) for name in OF_LABELS}
        return asked | of

    stable, canary = (
        Arm(**counts(version, False, True), of_clients=Counts(**counts(version, True)))
        for version in (rollout.stable, rollout.canary)
    )
    shared_s = max(0.0, _last(connection, rollout) - rollout.watched_since)
    return Evidence(stable, canary, pairs, shared_s, rollout.step, some, kept)


_TALLIED = ("requests", "errors", "shared", "timed", "slow")


def _steps(rollout: Rollout) -> dict[str, int]:
    """Return of which step a version's requests are: stable's of the one before, where all are the canary's."""
    alone = rollout.policy.steps[rollout.step].share >= 1
    return {rollout.stable: rollout.step - alone, rollout.canary: rollout.step}


def _of_steps(table: sa.Table, rollout: Rollout) -> sa.ColumnElement[bool]:
    mine = ((table.c.version == version) & (table.c.step == step) for version, step in _steps(rollout).items())
    return (table.c.rollout == rollout.id) & sa.or_(*mine)


def _tally(connection: sa.Connection, rollout: Rollout) -> dict[str, Counter[tuple[bool, str]]]:
    found: dict[str, Counter[tuple[bool, str]]] = {}
    for row in connection.execute(sa.select(TALLIES).where(_of_steps(TALLIES, rollout))):
        counts = found.setdefault(row.version, Counter())
        counts.update({(row.sticky, name): getattr(row, name) for name in _TALLIED})
    return found


def _last(connection: sa.Connection, rollout: Rollout) -> float:
    """Return when stable's last window of traffic began."""
    table = EVIDENCE.c
    newest = sa.select(sa.func.max(table.start)).where(table.model == rollout.model, table.version == rollout.stable)
    return float(connection.execute(newest).scalar_one() or -math.inf)


def _looks(connection: sa.Connection, rollout: Rollout) -> dict[str, Look]:
    wanted = (LOOKS.c.rollout == rollout.id) & LOOKS.c.step.in_((rollout.step, WHOLE))
    rows = connection.execute(sa.select(LOOKS.c.gate, LOOKS.c.seen).where(wanted).order_by(LOOKS.c.gate))
    return {row.gate: Look.from_dict(json.loads(row.seen)) for row in rows}


def _query_requests(
    connection: sa.Connection, rollout: Rollout, wrong: sa.ColumnElement[int], of: sa.ColumnElement[int]
) -> Iterator[interim_looks.Observed]:
    version, clients = CLIENTS.c.version, sa.func.count()
    observed = (
        sa.select(version, wrong, of, clients).where(_of_steps(CLIENTS, rollout), of > 0).group_by(version, wrong, of)
    )
    for row in connection.execute(observed):
        yield interim_looks.Observed(row[0] == rollout.canary, row[1], row[2], row[3])

"""What outcomes say of a guarded flag, as the judge of versions takes it: the flag off is stable, on is the canary.

Errors are those of the step, accuracy that of all steps; where all units have the flag, those without are of the step
before. Units are looked at more and more seldom (`marina.rollout.interim_looks`), and each look is kept, so that none
is taken twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.flag_tables import FLAG_OUTCOMES, FLAG_TRUTHS
from marina.rollout import interim_looks
from marina.rollout.interim_looks import Observed
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Look
from marina.rollout.policy.schema import Policy

_O, _T = FLAG_OUTCOMES.c, FLAG_TRUTHS.c
ERRORS, ACCURACY = "errors", "accuracy"


@dataclass(frozen=True)
class Looks:
    """The last looks at a guard's units.

    Attributes
    ----------
    step
        Of which step the one at errors is.
    taken
        By what was looked at: ``errors``, ``accuracy``.
    """

    step: int
    taken: Mapping[str, Look]

    @staticmethod
    def read(text: str, step: int) -> Looks:
        """Read what `write` gave; a look at errors is of its step alone."""
        kept = json.loads(text)
        taken = {name: Look.from_dict(one) for name, one in kept.get("taken", {}).items()}
        if kept.get("step") != step:
            taken.pop(ERRORS, None)
        return Looks(step, taken)

    def write(self) -> str:
        """Return them as JSON."""
        taken = {name: one.to_dict() for name, one in sorted(self.taken.items())}
        return json.dumps({"step": self.step, "taken": taken}, separators=(",", ":"))


def gather(connection: sa.Connection, guard: int, step: int, policy: Policy, looks: Looks) -> tuple[Evidence, Looks]:
    """Count what is known of a guarded flag, and take the looks that are due.

    Parameters
    ----------
    connection
        To read from.
    guard, step, policy
        Which guard, where it stands, and by what it is judged.
    looks
        Those before.

    Returns
    -------
    tuple
        The evidence with the looks, and these to be kept.
    """
    share = policy.steps[step].share
    of_step = _of_step(guard, step, share)
    asked = _count(connection, of_step, sa.func.sum(sa.case((_O.error, 1), else_=0)), labelled=False)
    known = _count(connection, _O.guard == guard, sa.func.sum(sa.case((_T.correct, 1), else_=0)), labelled=True)

    def counts(arm: bool, *alone: bool) -> dict[str, float]:
        found = [asked.get((arm, one), (0, 0)) for one in alone], [known.get((arm, one), (0, 0)) for one in alone]
        (requests, errors), (labelled, right) = (map(sum, zip(*each, strict=True)) for each in found)
        return {"requests": requests, "errors": errors, "labelled": labelled, "right": right}

    stable, canary = (Arm(**counts(arm, True, False), of_clients=Counts(**counts(arm, False))) for arm in (False, True))
    taken = dict(looks.taken)
    for name, total, rows in (
        (ERRORS, stable.of_clients.requests + canary.of_clients.requests, _errors(connection, of_step)),
        (ACCURACY, stable.of_clients.labelled + canary.of_clients.labelled, _wrong(connection, guard)),
    ):
        number = interim_looks.number(total, share)
        if number > (taken[name].number if name in taken else -1):
            taken[name] = interim_looks.by_rate(number, rows)
    return Evidence(stable, canary, step=step, looks=taken), Looks(step, taken)


def _of_step(guard: int, step: int, share: float) -> sa.ColumnElement[bool]:
    mine = _O.step == step
    if share >= 1:
        mine = sa.or_(mine & _O.arm, (_O.step == step - 1) & ~_O.arm)
    return (_O.guard == guard) & mine


def _count(
    connection: sa.Connection, wanted: sa.ColumnElement[bool], good: sa.ColumnElement[int], labelled: bool
) -> dict[tuple[bool, bool], tuple[int, int]]:
    """Return how many there are, and how many are `good`, by arm and whether drawn one by one."""
    alone = (_O.unit == "").label("alone")
    query = sa.select(_O.arm, alone, sa.func.count(), good).where(wanted).group_by(_O.arm, alone)
    if labelled:
        query = query.select_from(sa.join(FLAG_OUTCOMES, FLAG_TRUTHS, _O.item == _T.item)).where(~_O.error)
    return {(bool(row[0]), bool(row[1])): (row[2], row[3] or 0) for row in connection.execute(query)}


def _errors(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> Iterator[Observed]:
    wrong = sa.func.sum(sa.case((_O.error, 1), else_=0)).label("wrong")
    by_unit = sa.select(_O.arm, wrong, sa.func.count().label("n")).where(wanted, _O.unit != "")
    yield from _observed(connection, by_unit.group_by(_O.arm, _O.unit))


def _wrong(connection: sa.Connection, guard: int) -> Iterator[Observed]:
    wrong = sa.func.sum(sa.case((_T.correct, 0), else_=1)).label("wrong")
    by_unit = (
        sa.select(_O.arm, wrong, sa.func.count().label("n"))
        .select_from(sa.join(FLAG_OUTCOMES, FLAG_TRUTHS, _O.item == _T.item))
        .where(_O.guard == guard, _O.unit != "", ~_O.error)
    )
    yield from _observed(connection, by_unit.group_by(_O.arm, _O.unit))


def _observed(connection: sa.Connection, by_unit: sa.Select[tuple[bool, int, int]]) -> Iterator[Observed]:
    found = by_unit.subquery()
    keys = (found.c.arm, found.c.wrong, found.c.n)
    for row in connection.execute(sa.select(*keys, sa.func.count()).group_by(*keys)):
        yield Observed(bool(row[0]), row[1], row[2], row[3])

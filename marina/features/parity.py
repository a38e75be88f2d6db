"""Whether what was served is what the as-of join says was known then, bit for bit.

A served vector is the join's, or one that was until a moment before: a write reaches the database first, and the online
store a little later. Anything else is a difference: training would see other numbers than serving did.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.feature_tables import FEATURE_PARITY, FEATURE_SAMPLES
from marina.features.errors import FeatureStoreAwayError
from marina.features.offline import OfflineStore
from marina.features.vectors import Micros
from marina.features.views import HEAD, KEPT, View

GRACE_S: Final = 30.0
"""How late a write may reach the online store: beyond it, what is served is too old."""

DAY_S: Final = 86_400.0
NAMED: Final = 20
"""Differences that are written out."""

_MOST: Final = 100_000


@dataclass(frozen=True)
class Parity:
    """What comparing a view's samples found.

    Attributes
    ----------
    samples, behind, differing
        How many were compared; how many were a moment behind; how many were not what the join says.
    details
        Some of the latter: entity, when it was served, and the event times of both.
    """

    view: str
    samples: int
    behind: int
    differing: int
    details: list[dict[str, float | str | None]]


def check(database: Database, views: Mapping[str, View]) -> list[Parity]:
    """Compare every sample kept so far, keep what was found, and delete the samples.

    Returns
    -------
    list of Parity
        One per view, in their order.

    Raises
    ------
    FeatureStoreAwayError
        When the database does not answer; the samples are still there.
    """
    try:
        return [_check(database, view) for view in views.values()]
    except AWAY as error:
        reason = str(error).splitlines()[0]
        raise FeatureStoreAwayError(f"The database does not answer: {reason}. Samples are kept; try again") from error


def check_daily(database: Database, views: Mapping[str, View]) -> list[Parity]:
    """Do so where the last check is a day ago; once is enough, whichever process does it."""
    try:
        with database.reading() as connection:
            last = connection.scalar(sa.select(sa.func.max(FEATURE_PARITY.c.checked_at)))
    except AWAY as error:
        raise FeatureStoreAwayError(f"The database does not answer: {str(error).splitlines()[0]}") from error
    return check(database, views) if time.time() - (last or 0.0) > DAY_S else []


def _check(database: Database, view: View) -> Parity:
    table = FEATURE_SAMPLES.c
    ripe = (time.time() - GRACE_S) * 1e6  # a write may still be on its way to what was served just now
    chosen = sa.select(FEATURE_SAMPLES).where(table.view == view.name, table.served < ripe).order_by(table.id)
    with database.reading() as connection:
        rows = connection.execute(chosen.limit(_MOST)).all()
    mine = [row for row in rows if row.schema == view.schema]
    served = np.array([row.served for row in mine], np.int64)
    packed = [None if row.data is None else bytes(row.data) for row in mine]
    behind, differing = _compare(OfflineStore(database), view, [row.entity for row in mine], served, packed)
    details: list[dict[str, float | str | None]] = [
        {
            "entity": mine[place].entity,
            "served_at": mine[place].served / 1e6,
            "served_event": _event(packed[place]),
            "joined_event": _event(joined),
        }
        for place, joined in differing[:NAMED]
    ]
    found = Parity(view.name, len(mine), behind, len(differing), details)
    with database.writing() as connection:
        if rows:
            gone = sa.delete(FEATURE_SAMPLES).where(
                table.view == view.name, table.id <= rows[-1].id, table.served < ripe
            )
            if connection.execute(gone).rowcount < len(rows):  # another process has just compared them
                return found
        row = asdict(found) | {"details": json.dumps(details), "checked_at": time.time()}
        connection.execute(sa.insert(FEATURE_PARITY), row)
    return found


def _compare(
    offline: OfflineStore, view: View, entities: Sequence[str], served: Micros, packed: Sequence[bytes | None]
) -> tuple[int, list[tuple[int, bytes | None]]]:
    """Return how many rows are a moment behind, and which ones differ, with what the join says."""
    at, left = served.copy(), list(range(len(entities)))
    behind, differing = 0, []
    step = 0
    while left:
        joined = offline.as_of(view, [entities[place] for place in left], at[left], None)
        following = []
        for place, one in zip(left, joined, strict=True):
            counted = [_counted(view, bytes_, int(served[place])) for bytes_ in (packed[place], one)]
            if counted[0] == counted[1]:
                behind += step > 0
            elif one is not None and (known := HEAD.unpack_from(one)[2]) > served[place] - GRACE_S * 1e6:
                at[place] = known - 1  # perhaps it had not arrived yet: what was there before it?
                following.append(place)
            else:
                differing.append((place, one))
        left, step = following, step + 1
    return behind, differing


def _counted(view: View, packed: bytes | None, at: int) -> bytes | None:
    """Return a vector as it counts at a moment: one that is past keeping is none."""
    if packed is None or at - HEAD.unpack_from(packed)[1] > KEPT * view.ttl_s * 1e6:
        return None
    return packed


def _event(packed: bytes | None) -> float | None:
    return None if packed is None else HEAD.unpack_from(packed)[1] / 1e6

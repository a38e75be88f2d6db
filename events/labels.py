"""True labels: what the answer to a logged request should have been, as it comes to be known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from events.database import Database, insert
from events.tables import LABELS, PREDICTIONS

Outcome = Literal["recorded", "early", "duplicate", "conflict"]
"""What became of a label.

``recorded``: it is kept, and the prediction it belongs to is there. ``early``: it is kept, and counts as soon as the
prediction is there; where nobody ever answers, it is deleted in time, as every label is. ``duplicate``: the same label
was there already. ``conflict``: another label was there already, and stands.
"""

LONGEST = 256
"""Characters of a label, as the table has room for."""

AT_ONCE = 1000
"""Labels that may come in one batch."""


@dataclass(frozen=True)
class Label:
    """What one instance of one request should have been answered with.

    Attributes
    ----------
    request_id
        As the answer bore it in ``X-Request-Id``.
    label
        In the model's own words.
    instance
        Its place among the request's instances, from 0.
    """

    request_id: str
    label: str
    instance: int = 0


Key = tuple[str, int]


def record(database: Database, labels: Sequence[Label], now: float) -> list[Outcome]:
    """Keep labels, all or none of them; doing it again is harmless.

    Parameters
    ----------
    database
        Where.
    labels
        At most `AT_ONCE`.
    now
        Seconds since 1970.

    Returns
    -------
    list of Outcome
        One for each label. Of two that contradict each other the first in the list stands, as it does of two calls.

    Raises
    ------
    sqlalchemy.exc.OperationalError
        When the database is away. Nothing is kept then, or all if it went before it had said so.
    """
    if not labels:
        return []
    first: dict[Key, str] = {}
    for one in labels:
        first.setdefault((one.request_id, one.instance), one.label)
    with database.writing() as connection:
        added = _add(connection, first, now)
        standing = first | _labels(connection, [key for key in first if key not in added])
        answered = _answered(connection, list(added))
    outcomes: list[Outcome] = []
    for one in labels:
        key = (one.request_id, one.instance)
        if key in added:
            added.remove(key)  # the same key again in this list is no longer new
            outcomes.append("recorded" if key in answered else "early")
        else:
            outcomes.append("duplicate" if standing[key] == one.label else "conflict")
    return outcomes


def _add(connection: sa.Connection, labels: dict[Key, str], now: float) -> set[Key]:
    """Insert labels where there are none; return where that was."""
    new = insert(connection, LABELS).on_conflict_do_nothing().returning(LABELS.c.request_id, LABELS.c.instance)
    # In the order of their keys: two calls with the same ones then wait for each other once, not both for ever.
    rows = [{"request_id": key[0], "instance": key[1], "label": labels[key], "time": now} for key in sorted(labels)]
    return {(row.request_id, row.instance) for row in connection.execute(new, rows)}


def _labels(connection: sa.Connection, keys: list[Key]) -> dict[Key, str]:
    found = sa.select(LABELS.c.request_id, LABELS.c.instance, LABELS.c.label).where(
        sa.tuple_(LABELS.c.request_id, LABELS.c.instance).in_(keys)
    )
    return {(row.request_id, row.instance): row.label for row in connection.execute(found)}


def _answered(connection: sa.Connection, keys: list[Key]) -> set[Key]:
    found = sa.select(PREDICTIONS.c.request_id, PREDICTIONS.c.instance).where(
        sa.tuple_(PREDICTIONS.c.request_id, PREDICTIONS.c.instance).in_(keys)
    )
    return {(row.request_id, row.instance) for row in connection.execute(found)}

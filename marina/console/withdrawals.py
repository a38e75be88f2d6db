"""Taking back what someone said to be true: as if it had not come."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import LABELS, TRUTHS
from marina.events.labels import one_at_a_time

Beside = Callable[[sa.Connection], None]


@dataclass(frozen=True)
class Verdict:
    """What someone said of an answer.

    Attributes
    ----------
    request_id, instance
        Of which answer.
    part
        Of which part, as `models.quality.answers.read_parts` names it; None: a label of all of it.
    value
        The label, or whether the part is anomalous.
    source
        Who said it. Truths of several people are kept together, as of one of them.
    """

    request_id: str
    instance: int
    part: str | None
    value: str | bool
    source: str


def stands(connection: sa.Connection, verdict: Verdict) -> bool:
    """Return whether it is still what is known."""
    return _find(connection, verdict) is not None


def withdraw(database: Database, verdict: Verdict, beside: Beside) -> bool:
    """Take back a verdict.

    Parameters
    ----------
    beside
        Writes what is to be there if and only if something was taken back, in the same transaction.

    Returns
    -------
    bool
        Whether it still stood.
    """
    with database.writing(durable=True) as connection:
        one_at_a_time(connection)
        row = _find(connection, verdict)
        if row is None:
            return False
        table = LABELS if verdict.part is None else TRUTHS
        mine = (table.c.request_id == verdict.request_id, table.c.instance == verdict.instance)
        left = {} if verdict.part is None else json.loads(row.truth)
        left.pop(verdict.part, None)
        if left:
            text = json.dumps(left, sort_keys=True, ensure_ascii=False, allow_nan=False)
            connection.execute(sa.update(TRUTHS).where(*mine).values(truth=text))
        else:
            connection.execute(sa.delete(table).where(*mine))
        beside(connection)
    return True


def _find(connection: sa.Connection, verdict: Verdict) -> "sa.Row[tuple[object, ...]] | None":
    table = LABELS if verdict.part is None else TRUTHS
    mine = (table.c.request_id == verdict.request_id, table.c.instance == verdict.instance)
    row = connection.execute(sa.select(table).where(*mine)).one_or_none()
    if row is None:
        return None
    if verdict.part is None:
        return row if (row.label, row.source) == (verdict.value, verdict.source) else None
    return row if json.loads(row.truth).get(verdict.part) == verdict.value else None

"""Taking back what someone said to be true: as if it had not come."""

import json
from collections.abc import Callable

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import LABELS, TRUTHS
from marina.events.labels import one_at_a_time

Beside = Callable[[sa.Connection], None]


def withdraw(database: Database, request_id: str, instance: int, part: str | None, source: str, beside: Beside) -> bool:
    """Take back a label, or the truth of one part of an answer, that a source gave.

    Parameters
    ----------
    part
        Of a truth, as `models.quality.answers.read_parts` names it; None: the label.
    source
        Whose it has to be.
    beside
        Writes what is to be there if and only if something was taken back, in the same transaction.

    Returns
    -------
    bool
        Whether there was any.
    """
    with database.writing(durable=True) as connection:
        one_at_a_time(connection)
        table = LABELS if part is None else TRUTHS
        mine = (table.c.request_id == request_id, table.c.instance == instance, table.c.source == source)
        row = connection.execute(sa.select(table).where(*mine)).one_or_none()
        if row is None:
            return False
        left = {} if part is None else json.loads(row.truth)
        if part is not None and left.pop(part, None) is None:
            return False
        if left:
            text = json.dumps(left, sort_keys=True, ensure_ascii=False, allow_nan=False)
            connection.execute(sa.update(TRUTHS).where(*mine).values(truth=text))
        else:
            connection.execute(sa.delete(table).where(*mine))
        beside(connection)
    return True

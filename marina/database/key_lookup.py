"""Many keys asked for at once, each looked up in the index: the list goes to the database as one JSON text.

An ``IN`` with pairs would be taken by SQLite for a reason to read the whole table, and an ``IN`` with single values is
compiled again for each length.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

Key = tuple[str, int]
"""A request id, and the place of an instance among the request's."""


def asked(connection: sa.Connection, keys: Iterable[Key]) -> sa.Subquery:
    """Return keys as rows of ``request_id`` and ``instance``; join to them what is looked for, as an outer join."""
    if connection.dialect.name == "postgresql":
        given = sa.func.jsonb_array_elements(sa.cast(list(keys), postgresql.JSONB)).table_valued("value")
        parts: list[sa.ColumnElement[Any]] = [given.c.value.op("->>")(at) for at in (0, 1)]
    else:
        given = sa.func.json_each(orjson.dumps(list(keys)).decode()).table_valued("value")
        parts = [sa.func.json_extract(given.c.value, f"$[{at}]") for at in (0, 1)]
    columns = sa.cast(parts[0], sa.String).label("request_id"), sa.cast(parts[1], sa.Integer).label("instance")
    return sa.select(*columns).select_from(given).subquery("asked")


def rows(
    connection: sa.Connection, table: sa.Table, keys: Sequence[Key], *columns: sa.Column[Any]
) -> list[sa.Row[Any]]:
    """Return ``request_id``, ``instance`` and further columns of a table's rows that have one of these keys."""
    given = asked(connection, keys)
    mine = (table.c.request_id == given.c.request_id) & (table.c.instance == given.c.instance)
    found = sa.select(table.c.request_id, table.c.instance, *columns).select_from(given.outerjoin(table, mine))
    # In a subquery a condition on the joined table would let the database begin with that one.
    return [row for row in connection.execute(found) if row.request_id is not None]


def known(connection: sa.Connection, table: sa.Table, ids: Iterable[str]) -> set[str]:
    """Return those of some request ids that a table has any row of."""
    given = asked(connection, [(one, 0) for one in ids])
    there = sa.exists().where(table.c.request_id == given.c.request_id)
    return set(connection.execute(sa.select(given.c.request_id).where(there)).scalars())

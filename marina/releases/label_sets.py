"""Which classes and kind of truth each version has, kept from when it was declared on.

So labels need only the database, and no archive is opened for one.

They stay when a version is withdrawn, since labels may come long after the answers.
"""

import json
from collections.abc import Sequence

import sqlalchemy as sa

from marina.database.tables import DECLARATIONS, LABEL_SETS


def write_label_set(
    connection: sa.Connection, model: str, version: str, labels: Sequence[str], truth: str = ""
) -> None:
    """Write what truths of a version's answers are, in place of what was known.

    Parameters
    ----------
    connection
        The transaction that declares it.
    model, version
        Which.
    labels
        Its classes; none where its answers are no classes.
    truth
        The kind of truth (`models.quality.kinds.KINDS`); empty where that is not known.
    """
    connection.execute(sa.delete(LABEL_SETS).where(LABEL_SETS.c.model == model, LABEL_SETS.c.version == version))
    row = {"model": model, "version": version, "labels": json.dumps(list(labels), ensure_ascii=False)}
    connection.execute(sa.insert(LABEL_SETS).values(row | {"truth": truth}))


def list_missing(connection: sa.Connection) -> set[tuple[str, str]]:
    """Return the declared versions, as model and version, whose classes or kind of truth are not known."""
    there = (LABEL_SETS.c.model == DECLARATIONS.c.model) & (LABEL_SETS.c.version == DECLARATIONS.c.version)
    missing = sa.select(DECLARATIONS.c.model, DECLARATIONS.c.version).where(
        ~sa.exists().where(there, LABEL_SETS.c.truth != "")
    )
    return {(row.model, row.version) for row in connection.execute(missing)}

"""How bad each answer was of which parts are known to be true: losses from 0 to 1, as the judge counts them."""

from collections.abc import Iterator
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from marina.database.tables import PREDICTIONS, TRUTHS
from models.quality.answers import WHOLE, read_parts
from models.quality.kinds import KINDS
from models.quality.tallies import overlap_of, tally


class Loss(NamedTuple):
    """Of one answer: of which version, whose it is (None without a session), and how bad it was.

    Attributes
    ----------
    version, client, loss
        These.
    hits, alarms, parts
        Of how many parts both answer and truth were yes, of how many either was, and how many the answer has.
    """

    version: str
    client: int | None
    loss: float
    hits: float
    alarms: float
    parts: int


def read_losses(connection: sa.Connection, model: str, since: float, *when: sa.ColumnElement[bool]) -> Iterator[Loss]:
    """Compute the losses of a model's answers for which the gateway chose the version.

    Parameters
    ----------
    connection
        To read from.
    model
        Which.
    since
        Of answers given since then, in seconds since 1970.
    when
        Conditions on when the truths came, or, where all that ever came count, on whose the answers are. Others are
        asked of the rows, lest a database begin with the answers.

    Yields
    ------
    Loss
        Of each answer that something that is known can be held against.
    """
    given = PREDICTIONS.c
    same = (given.request_id == TRUTHS.c.request_id) & (given.instance == TRUTHS.c.instance)
    columns = (given.model, given.version, given.time, given["picked"].label("routed"), given.client, given.answer)
    asked = sa.select(*columns, TRUTHS.c.kind, TRUTHS.c.truth).join_from(TRUTHS, PREDICTIONS, same, isouter=True)
    for row in connection.execute(asked.where(*when)):
        if row.model != model or not row.routed or row.time < since:
            continue
        for kind in (one for one in KINDS if one == row.kind):
            parts = read_parts(kind, orjson.loads(row.answer))
            found = tally(kind, parts, orjson.loads(row.truth))
            if found["answers", WHOLE]:
                loss = float(found["loss", WHOLE])
                yield Loss(row.version, row.client, loss, *overlap_of(kind, found), len(parts))

"""Answers beside their true labels: the one select from which every share of right answers is computed."""

from typing import Any

import sqlalchemy as sa

from marina.database.tables import LABELS, PREDICTIONS

Columns = sa.ColumnCollection[str, sa.Column[Any]]

IS_RIGHT = PREDICTIONS.c.label == LABELS.c.label


def select_labelled(*columns: sa.ColumnElement[Any], outer: bool = False) -> sa.Select[Any]:
    """Select from labels with the answer that each is of, by any version; what to count is the caller's to say.

    Parameters
    ----------
    columns
        What to select, of `LABELS` and `PREDICTIONS`.
    outer
        Whether labels stay whose answer is missing, so that the database has to begin with the labels.
    """
    return sa.select(*columns).join_from(LABELS, PREDICTIONS, same_instance(PREDICTIONS.c), isouter=outer)


def same_instance(answers: Columns) -> sa.ColumnElement[bool]:
    """Join answers, or pairs of them, to labels by nothing but their key.

    Any other condition may tempt a database to read all answers.
    """
    return sa.and_(answers["request_id"] == LABELS.c.request_id, answers["instance"] == LABELS.c.instance)

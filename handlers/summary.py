"""What the prediction log says of a request's instances, in the order of the contract's ``summary``."""

import math
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from handlers.calls import Call

Rows = NDArray[np.float32]


def by_place(rows: Rows, call: Call[Any]) -> Rows | None:
    """Return the rows of a call's items under their places among its instances.

    Parameters
    ----------
    rows : ndarray of float32, shape (items, names)
        NaN is a number that an item does not have.
    call
        Whose items these are.

    Returns
    -------
    ndarray of float32, shape (instances, names), or None
        NaN at the place of an instance that is no item; None where nothing is said of any item.
    """
    if not len(rows) or (math.isnan(rows.item(0, 0)) and np.isnan(rows).all()):
        return None
    if not call.faults:
        return rows
    placed = np.full((len(call.items) + len(call.faults), rows.shape[1]), np.nan, np.float32)
    placed[call.places] = rows
    return placed


def write_summary(rows: Rows) -> bytes:
    """Return rows as a JSON list of lists; null is NaN.

    Examples
    --------
    >>> write_summary(np.array([[1, 0.1], [np.nan, -2]], np.float32))
    b'[[1.0,0.1],[null,-2.0]]'
    """
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)

"""A person's own takes as a page sends them: checked, and kept as numbers of four bytes each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.errors import MarinaError
from models.signflow.personal import MOST_TAKES

MOST_SIGNS: Final = 1000
MOST_NUMBERS: Final = 4096
"""Of an embedding."""

LONGEST_NAME: Final = 256


class TakesError(MarinaError):
    """What a page sent is no takes; the message says what was expected."""


def read_takes(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's takes as a request brings them; empty where there are none.

    Parameters
    ----------
    message
        With ``calibration_of``, and ``prototypes``: by sign a list of embeddings.

    Returns
    -------
    dict
        ``calibration_of``, and ``prototypes``: by sign float32 [takes, D].

    Raises
    ------
    TakesError
        If it is anything else. Whether the version knows them, it says itself.
    """
    origin, prototypes = message.get("calibration_of"), message.get("prototypes")
    if not prototypes:
        return {}
    if not isinstance(origin, str) or len(origin) > LONGEST_NAME:
        raise TakesError("calibration_of: expected the string that came beside the embeddings")
    if not isinstance(prototypes, dict) or len(prototypes) > MOST_SIGNS or max(map(len, prototypes)) > LONGEST_NAME:
        raise TakesError(f"prototypes: expected an object of at most {MOST_SIGNS} signs")
    return {"calibration_of": origin, "prototypes": {sign: _numbers(sign, one) for sign, one in prototypes.items()}}


def _numbers(sign: str, embeddings: Any) -> npt.NDArray[np.float32]:
    if isinstance(embeddings, list) and 1 <= len(embeddings) <= MOST_TAKES and all(map(_is_embedding, embeddings)):
        with np.errstate(over="ignore"):
            read = [np.array(one, np.float32) for one in embeddings]
        if len({*map(len, read)}) == 1 and np.isfinite(read).all():
            return np.stack(read)
    expected = f"1 to {MOST_TAKES} lists of equally many finite numbers, at most {MOST_NUMBERS}"
    raise TakesError(f"prototypes.{sign[:64]}: expected {expected}")


def _is_embedding(given: Any) -> bool:
    return isinstance(given, list) and 1 <= len(given) <= MOST_NUMBERS and {*map(type, given)} <= {int, float}

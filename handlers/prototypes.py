"""A person's own takes of signs, as a request sends them: embeddings that the same graph gave before."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.decoding import describe
from handlers.errors import InvalidError, OtherVersionError
from models.signflow.personal import MOST_TAKES

FAR = 1e6
"""Largest magnitude of a number of an embedding; those of a normalised layer are near 1."""


def check_origin(options: Mapping[str, Any], fingerprint: str, version: str) -> None:
    """Refuse takes that another graph embedded: its numbers mean something else.

    Parameters
    ----------
    options
        A request's ``prototypes`` and ``calibration_of``.
    fingerprint
        SHA-256 of the graph that serves.
    version
        Its name.

    Raises
    ------
    InvalidError
        If the request does not say which graph they are of.
    OtherVersionError
        If that is another one.
    """
    origin = options.get("calibration_of")
    if not isinstance(origin, str):
        came = describe(origin) if "calibration_of" in options else "nothing"
        raise InvalidError("calibration_of", "the string of that name that came beside the embeddings", came)
    if origin != fingerprint:
        raise OtherVersionError(
            "calibration_of",
            f"the fingerprint of version {version}'s graph",
            f"{origin[:12]}…",
            "embeddings of another version mean nothing here: calibrate again with this one, or ask the version that "
            "they are of by its address, /predictions/MODEL/VERSION",
        )


def read_takes(sent: Any, labels: Sequence[str], width: int) -> dict[int, NDArray[np.float64]]:
    """Validate ``prototypes``: by sign, one to `MOST_TAKES` embeddings.

    Parameters
    ----------
    sent
        What came.
    labels
        The signs that are known.
    width
        Numbers of an embedding.

    Returns
    -------
    dict of int to ndarray
        By the sign's position, float64 [takes, width].

    Raises
    ------
    InvalidError
        If it is anything else.
    """
    if not isinstance(sent, dict):
        raise InvalidError("prototypes", "an object of signs, each with a list of embeddings", describe(sent))
    places = {label: place for place, label in enumerate(labels)}
    takes = {}
    for sign, embeddings in sent.items():
        field = f"prototypes.{sign[:64]}"
        if sign not in places:
            raise InvalidError(field, f"one of the {len(labels)} signs that this version knows", "another name")
        if not isinstance(embeddings, list) or not 1 <= len(embeddings) <= MOST_TAKES:
            raise InvalidError(field, f"a list of 1 to {MOST_TAKES} embeddings", describe(embeddings))
        for index, numbers in enumerate(embeddings):
            if not isinstance(numbers, list) or len(numbers) != width:
                raise InvalidError(f"{field}[{index}]", f"{width} numbers, as an embedding has", describe(numbers))
        takes[places[sign]] = _read_numbers(embeddings, field, width)
    return takes


def _read_numbers(embeddings: list[list[Any]], field: str, width: int) -> NDArray[np.float64]:
    numbers = list(itertools.chain.from_iterable(embeddings))
    if not {*map(type, numbers)} <= {float, int} or not all(map(_is_near, numbers)):
        wrong = next(at for at, value in enumerate(numbers) if type(value) not in (float, int) or not _is_near(value))
        where = f"{field}[{wrong // width}][{wrong % width}]"
        raise InvalidError(where, f"a number from {-FAR:.0f} to {FAR:.0f}", describe(numbers[wrong]))
    return np.array(numbers, np.float64).reshape(-1, width)


def _is_near(value: float) -> bool:
    return math.isfinite(value) and -FAR <= value <= FAR

"""What callers give to the feature store, checked before anything is done with it."""

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from marina.database.names import name
from marina.features.errors import FeatureStoreError
from marina.features.vectors import Micros
from marina.features.views import View

LONGEST_ENTITY: Final = 1024


def named(entities: Sequence[str]) -> list[str]:
    """Return the entities, each of which has a name that every store can hold.

    Raises
    ------
    FeatureStoreError
        When one has not.
    """
    if isinstance(entities, str):
        raise FeatureStoreError(f"expected a list of entities, got one text: [{entities!r}]")
    for entity in entities:
        if isinstance(entity, str) and 0 < len(entity) <= LONGEST_ENTITY and entity.isascii() and "\0" not in entity:
            continue
        try:
            name(entity, LONGEST_ENTITY).encode()
        except ValueError:
            raise FeatureStoreError(
                f"{entity!r:.80} is no entity: expected a text of 1 to {LONGEST_ENTITY} characters"
            ) from None
    return list(entities)


def checked(
    view: View, names: list[str], event_times: Any, values: npt.ArrayLike, moment: int
) -> tuple[Micros, npt.NDArray[np.float64]]:
    """Return event times in microseconds and values as a table, both of which fit the view.

    Parameters
    ----------
    moment
        Microseconds since 1970 when this was known: no event is later.

    Raises
    ------
    FeatureStoreError
        When they do not fit.
    """
    table = np.asarray(values, np.float64)
    events = np.array([micros(float(time_s)) for time_s in event_times], np.int64)
    if table.shape != (len(names), len(view.features)) or events.shape != (len(names),):
        raise FeatureStoreError(
            f"expected {len(names)} event times and values of shape ({len(names)}, {len(view.features)}) for "
            f"{view.name}, got {len(events)} and {table.shape}"
        )
    if late := [place for place, event in enumerate(events.tolist()) if event > moment]:
        raise FeatureStoreError(
            f"{view.name} of {names[late[0]]!r}: its event time {event_times[late[0]]} is after it was known, "
            f"{moment / 1e6}. Events are of the past; look at the writer's clock"
        )
    return events, table


def micros(time_s: float) -> int:
    """Return seconds since 1970 in microseconds.

    Raises
    ------
    FeatureStoreError
        When it is no such time.
    """
    if not 0 < time_s < 1e11:
        raise FeatureStoreError(f"expected seconds since 1970, got {time_s}")
    return round(time_s * 1e6)


def now() -> int:
    """Return the microseconds since 1970."""
    return time.time_ns() // 1000

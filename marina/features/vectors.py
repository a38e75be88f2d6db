"""Vectors as they are packed, kept and read: every value present, stale or missing, never a zero that stands for none.

A packed vector is `View.dtype`: head, float32 values, presence bits. The same bytes lie in Redis and in the offline
table, so that the two can be compared bit for bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from marina.features.errors import FeatureStoreError
from marina.features.views import KEPT, View

Micros = npt.NDArray[np.int64]
"""Microseconds since 1970."""


class State(IntEnum):
    """What is known of one feature of one entity."""

    MISSING = 0
    STALE = 1
    FRESH = 2


@dataclass(frozen=True)
class Vectors:
    """What a view holds of some entities, at a moment or each at its own.

    Attributes
    ----------
    view
        What the columns are.
    entities
        What the rows are, N of them; one that nothing is known of has a row, too.
    packed
        Each row's bytes as they are kept; None where there is nothing.
    at
        Microseconds since 1970: when it was asked, or as of when; one number, or int64 [N].
    """

    view: View
    entities: Sequence[str]
    packed: Sequence[bytes | None]
    at: int | Micros

    def __len__(self) -> int:
        return len(self.entities)

    @cached_property
    def _rows(self) -> npt.NDArray[np.void]:
        absent = self.view.absent
        return np.frombuffer(b"".join([packed or absent for packed in self.packed]), self.view.dtype)

    @cached_property
    def states(self) -> npt.NDArray[np.uint8]:
        """uint8 [N, features] of `State`."""
        present = np.unpackbits(self._rows["present"], axis=1, count=len(self.view.features))
        age_us = np.asarray(self.at) - self._rows["event"].astype(np.int64)
        ttl_us = self.view.ttl_s * 1e6
        age = np.where(age_us <= ttl_us, State.FRESH, np.where(age_us <= KEPT * ttl_us, State.STALE, State.MISSING))
        states: npt.NDArray[np.uint8] = present * age.astype(np.uint8)[:, None]
        return states

    @cached_property
    def values(self) -> npt.NDArray[np.float32]:
        """float32 [N, features]; NaN where a value is missing. Stale ones are there: see `states`."""
        return np.where(self.states == State.MISSING, np.float32(np.nan), self._rows["values"].astype(np.float32))

    @property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """Bool [N, features]: which values may be used without a second thought."""
        return np.equal(self.states, State.FRESH)

    @property
    def event_times(self) -> npt.NDArray[np.float64]:
        """float64 [N], seconds since 1970: of when each row is; NaN where there is none."""
        times = self._rows["event"].astype(np.float64)

        return np.where(times == 0, np.nan, times / 1e6)

    def record(self, row: int, groups: Iterable[str] | None = None) -> dict[str, dict[str, float | str | None]]:
        """Return one row for JSON: by feature its value, None where it is missing, and its state.

        Raises
        ------
        FeatureStoreError
            When the view has no such group.
        """
        every = range(len(self.view.features)) if groups is None else self.view.positions(groups)
        states, values = self.states[row], self.values[row]
        return {
            self.view.features[column]: {
                "value": None if states[column] == State.MISSING else float(values[column]),
                "state": State(states[column]).name.lower(),
            }
            for column in every
        }


def pack(view: View, values: npt.NDArray[np.floating], events: Micros, known: int) -> list[bytes]:
    """Pack rows; NaN is a value that is missing.

    Parameters
    ----------
    values
        float [N, features].
    events
        int64 [N], microseconds since 1970.
    known
        Microseconds since 1970.

    Raises
    ------
    FeatureStoreError
        When a value is infinite, or too large for a float32.
    """
    rows = np.zeros(len(values), view.dtype)
    with np.errstate(over="ignore"):
        rows["values"] = values
    if np.isinf(rows["values"]).any():
        row, column = np.argwhere(np.isinf(rows["values"]))[0]
        raise FeatureStoreError(
            f"row {row} of {view.name}: {view.features[column]} is {values[row, column]}; expected a finite float32, "
            "or NaN where there is none"
        )
    missing = np.isnan(rows["values"])
    rows["values"][missing] = np.nan  # one NaN, whichever came
    rows["schema"], rows["event"], rows["known"] = view.schema_id, events, known
    rows["present"] = np.packbits(~missing, axis=1)
    whole, size = rows.tobytes(), view.dtype.itemsize
    return [whole[start : start + size] for start in range(0, len(whole), size)]

"""Rows of named features: what every family shares that takes features and no more.

A row is sent as ``{"features": {"name": number, …}}`` or as ``{"features": [numbers in the contract's order]}``, many
as ``{"instances": […]}`` or as a `.npy` array of one or two axes. ``null``, NaN and an absent name are a missing value,
which the graph fills in as it did in training. The graph's input is named ``features``, float32 [batch, features].

A hundred rows are checked in one pass over their values: about 0.1 ms for 28 features.
"""

import itertools
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.base import Handler, Outputs
from handlers.errors import InvalidError
from handlers.wire import JSON, NPY, describe

Row = NDArray[np.float32]
Rows = NDArray[np.float32]

FAR = 1e30
"""Largest magnitude of a feature; more is a mistake, and would overflow in the graph."""

NUMBERS = frozenset({int, float, type(None)})


class TabularHandler(Handler[Row]):
    """Answers rows of features; a subclass phrases the graph's outputs."""

    content_types = (JSON, NPY)
    fields = frozenset({"features"})
    max_instances = 4096

    def opened(self, folder: Path) -> None:
        """Read the reference rows' medians: what a feature is replaced by to see what it contributes."""
        with np.load(folder / "reference.npz", allow_pickle=False) as reference:
            self._usual = np.nan_to_num(np.nanmedian(reference["features"], axis=0)).astype(np.float32)
        self._names = self.contract.features
        self._known = frozenset(self._names)
        self._whole = itemgetter(*self._names)

    def decode(self, fields: dict[str, Any]) -> Row:
        """Validate one row."""
        row: Row = self._checked([self._values(fields, "")], "")[0]
        return row

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Row]:
        """Validate many rows in one pass over their values."""
        rows = [self._values(instance, f"instances[{index}].") for index, instance in enumerate(instances)]
        return list(self._checked(rows, "instances[{}]."))

    def decode_array(self, array: NDArray[Any]) -> Row | list[Row]:
        """Validate an array, [features] or [rows, features]."""
        width = len(self._names)
        if array.ndim not in (1, 2) or array.shape[-1] != width or not 1 <= array.size // width <= self.max_instances:
            expected = f"an array of shape [{width}] or [1 to {self.max_instances}, {width}]"
            raise InvalidError("features", expected, f"shape {list(array.shape)}")
        rows = self._bounded(array.reshape(-1, width), "" if array.ndim == 1 else "rows[{}].")
        return rows[0] if array.ndim == 1 else list(rows)

    def prepare(self, items: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Stack the rows: ``features`` float32 [batch, features]."""
        return {"features": np.array(items, np.float32)}

    def answered(self, outputs: Outputs) -> NDArray[Any]:
        """Return the number per row that an explanation attributes to the features.

        The first output; where it has several columns, the most probable one of the first row, which is the row that
        is explained.
        """
        first = next(iter(outputs.values()))
        first = first.reshape(len(first), -1)
        column = int(first[0].argmax())
        answered: NDArray[Any] = first[:, column]
        return answered

    def explain(self, item: Row) -> dict[str, Any]:
        """Attribute an answer to its features by occlusion (Zeiler & Fergus, 2014).

        Each feature in turn is replaced by its median at training time; what the answer loses by that is the
        feature's share. Interactions are counted for each feature in them, so the shares need not add up. Costs one
        forward pass of as many rows as there are features, and one more.
        """
        hidden = np.tile(item, (len(item) + 1, 1))
        hidden[np.arange(1, len(hidden)), np.arange(len(item))] = self._usual
        answers = self.answered(self.engine.run({"features": hidden})).astype(np.float64)
        lost = answers[0] - answers[1:]
        order = np.argsort(-np.abs(lost), kind="stable").tolist()
        return {
            "method": "occlusion: the feature replaced by its median at training time",
            "attributions": {self._names[k]: float(lost[k]) for k in order},
        }

    def _values(self, fields: dict[str, Any], prefix: str) -> Sequence[Any]:
        """Return one row's values in the contract's order, unchecked."""
        sent = fields.get("features")
        names = self._names
        if type(sent) is list:
            if len(sent) == len(names):
                return sent
            raise InvalidError(f"{prefix}features", f"{len(names)} numbers", describe(sent))
        if type(sent) is dict:
            if sent.keys() <= self._known:
                if len(sent) == len(names) > 1:  # of one name, a getter gives the value itself
                    whole: tuple[Any, ...] = self._whole(sent)
                    return whole
                return [sent.get(name) for name in names]
            unknown = next(name for name in sent if name not in self._known)
            raise InvalidError(
                f"{prefix}features.{unknown[:64]}", f"only the features {', '.join(names)}", "another name"
            )
        came = describe(sent) if "features" in fields else "nothing"
        raise InvalidError(f"{prefix}features", f"an object of numbers by name, or an array of {len(names)}", came)

    def _checked(self, rows: Sequence[Sequence[Any]], place: str) -> Rows:
        """Turn rows of JSON values into numbers."""
        values = list(itertools.chain.from_iterable(rows))
        # One pass over the types: numpy would read "1.5" and true as numbers.
        if not {*map(type, values)} <= NUMBERS:
            wrong = next(index for index, value in enumerate(values) if type(value) not in NUMBERS)
            row, column = divmod(wrong, len(self._names))
            raise InvalidError(
                f"{place.format(row)}features.{self._names[column]}",
                "a number, or null if missing",
                describe(values[wrong]),
            )
        return self._bounded(np.array(values, np.float64).reshape(len(rows), -1), place)

    def _bounded(self, rows: NDArray[Any], place: str) -> Rows:
        """Refuse what no feature can be, and return the rest in the graph's precision."""
        if bool((np.abs(rows) > FAR).any()):  # NaN compares false
            row, column = np.argwhere(np.abs(rows) > FAR)[0].tolist()
            raise InvalidError(
                f"{place.format(row)}features.{self._names[column]}",
                f"a number from {-FAR:.0e} to {FAR:.0e}",
                f"{rows[row, column]:.6g}",
            )
        return rows.astype(np.float32)

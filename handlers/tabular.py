"""Rows of named features: what every family shares that takes features and no more.

A row is sent as ``{"features": {"name": number, …}}`` or as ``{"features": [numbers in the contract's order]}``, many
as ``{"instances": […]}`` or as a `.npy` array of one or two axes. ``null``, NaN and an absent name are a missing value,
which the graph fills in as it did in training. The graph's input is named ``features``, float32 [batch, features].

A row is refused where a feature is not what the contract calls possible, or more of them are missing than that allows,
and never answered without any; what is not usual is answered with a warning.

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
from handlers.decoding import JSON, NPY, describe
from handlers.errors import InvalidError
from handlers.validation import Unusual
from models.ranges import MISSING_SHARE, Bounds
from models.summary import key_numbers

Row = NDArray[np.float32]
Rows = NDArray[np.float32]

FAR = 1e30
"""Largest magnitude of a feature; more is a mistake, and would overflow in the graph."""

NAMED = 5
"""Missing features that an error names."""

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
        self._possible = Bounds.read(self.contract.possible, self._names)
        self._expected = Bounds.read(self.contract.usual, self._names)
        near = FAR / 2  # beyond which a row is looked at closely
        self._plainly = Bounds(np.maximum(self._possible.low, -near), np.minimum(self._possible.high, near))
        width = len(self._names)
        most, often = (ranges.get(MISSING_SHARE, (0, 1))[1] for ranges in (self.contract.possible, self.contract.usual))
        # Never all of them: an answer to nothing is what is usual.
        self._most_missing = min(width - 1, int(width * (1 if most is None else most)))
        self._often_missing = width if often is None else round(width * often)
        self._known = frozenset(self._names)
        self._whole = itemgetter(*self._names)

    def decode(self, fields: dict[str, Any]) -> Row:
        """Validate one row."""
        row: Row = self._check([self._values(fields, "")], "")[0]
        return row

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Row]:
        """Validate many rows in one pass over their values."""
        rows = [self._values(instance, f"instances[{index}].") for index, instance in enumerate(instances)]
        return list(self._check(rows, "instances[{}]."))

    def decode_array(self, array: NDArray[Any]) -> Row | list[Row]:
        """Validate an array, [features] or [rows, features]."""
        width = len(self._names)
        if array.ndim not in (1, 2) or array.shape[-1] != width or not 1 <= array.size // width <= self.max_instances:
            expected = f"an array of shape [{width}] or [1 to {self.max_instances}, {width}]"
            raise InvalidError("features", expected, f"shape {list(array.shape)}")
        rows = self._bound(array.reshape(-1, width), "" if array.ndim == 1 else "rows[{}].")
        return rows[0] if array.ndim == 1 else list(rows)

    def split_array(self, array: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Return the rows of an array of rows."""
        fits = array.ndim == 2 and array.shape[1] == len(self._names) and len(array) <= self.max_instances
        return list(array) if fits else ()

    def find_unusual(self, items: Sequence[Row]) -> Sequence[Sequence[Unusual]]:
        """Return which features of each row are not as they were in nearly all rows in training."""
        rows = np.array(items)
        if self._expected.hold(rows, self._often_missing):
            return ()
        outside, missing = self._expected.outside(rows), np.isnan(rows)
        strange = outside.any(axis=1) | (missing.sum(axis=1) > self._often_missing)
        if not strange.any():
            return ()
        found: list[list[Unusual]] = [[] for _ in items]
        for at in np.flatnonzero(strange).tolist():
            for k in np.flatnonzero(outside[at]).tolist():
                low, high = self._expected.low[k], self._expected.high[k]
                message = (
                    f"{rows[at, k]:.6g} is unusual: nearly all rows in training had {low:.6g} to {high:.6g}; check the "
                    "unit, and rely less on the answer"
                )
                found[at].append(Unusual(f"features.{self._names[k]}", message))
            if (count := int(missing[at].sum())) > self._often_missing:
                message = (
                    f"{count} of {len(self._names)} features are missing ({self._list_missing(rows[at])}), in nearly "
                    f"all rows in training at most {self._often_missing} were; rely less on the answer"
                )
                found[at].append(Unusual("features", message))
        return found

    def prepare(self, items: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Stack the rows: ``features`` float32 [batch, features]."""
        return {"features": np.array(items, np.float32)}

    def summarise(self, items: Sequence[Row], outputs: Outputs) -> NDArray[np.float32]:
        """Return of each row what the contract's summary names: features, or the share of them that is missing."""
        return key_numbers(np.array(items, np.float32), self.contract.features, self.contract.summary)

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

    def _check(self, rows: Sequence[Sequence[Any]], place: str) -> Rows:
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
        return self._bound(np.array(values, np.float64).reshape(len(rows), -1), place)

    def _bound(self, rows: NDArray[Any], place: str) -> Rows:
        """Refuse what no feature can be, and return the rest in the graph's precision."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is too far as well
            single = rows.astype(np.float32)  # in which a share that was rounded to just over 1 is 1
        if self._plainly.hold(single, self._most_missing):
            return single
        if bool((np.abs(rows) > FAR).any()):  # NaN compares false
            row, column = np.argwhere(np.abs(rows) > FAR)[0].tolist()
            raise InvalidError(
                f"{place.format(row)}features.{self._names[column]}",
                f"a number from {-FAR:.0e} to {FAR:.0e}",
                f"{rows[row, column]:.6g}",
            )
        outside = self._possible.outside(single)
        if bool(outside.any()):
            row, column = np.argwhere(outside)[0].tolist()
            value = rows[row, column]
            raise InvalidError(
                f"{place.format(row)}features.{self._names[column]}", self._bounds(column, value), f"{value:.6g}"
            )
        missing = np.isnan(rows).sum(axis=1)
        if bool((missing > self._most_missing).any()):
            row = int(missing.argmax())
            names, most = self._list_missing(rows[row]), self._most_missing
            raise InvalidError(
                f"{place.format(row)}features",
                f"a number for at least {len(self._names) - most} of the {len(self._names)} features: with more "
                "missing, the answer would be what is usual, whatever the row",
                f"{len(self._names) - missing[row]}; missing are {names}",
            )
        return single

    def _bounds(self, column: int, value: float) -> str:
        """Say what a feature can be, and what to send where it seems to be in percent."""
        low, high = self._possible.low[column], self._possible.high[column]
        if (low, high) == (0, 1):
            hint = f": send {value / 100:.6g} for {value:.6g} %" if 1 < value <= 100 else ""
            return f"a share from 0 to 1{hint}"
        if high == np.inf:
            return f"a number of at least {low:.6g}"
        return f"a number from {low:.6g} to {high:.6g}"

    def _list_missing(self, row: NDArray[Any]) -> str:
        names = [self._names[k] for k in np.flatnonzero(np.isnan(row)).tolist()]
        return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")

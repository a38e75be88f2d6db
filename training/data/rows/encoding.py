"""A row as JSON with one spelling: equal rows are equal text, and have equal hashes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.data.reading.columns import Column

if TYPE_CHECKING:
    import pandas as pd

    from training.data.rows.source import RowSource

UNITS: Final = {"day": ("D", ""), "instant": ("s", "Z")}
"""To what days and instants are written, and what stands for their zone."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    number
        In its file, from 0.
    key
        SHA-256 of what names it among its family's rows, in hex.
    sha256
        Of `content`, in hex.
    content
        All of its columns, as JSON: text; numbers, null where missing; days and instants (UTC) in ISO 8601.
    moment
        When it was, in seconds since 1970; 0 where rows have no time.
    """

    number: int
    key: str
    sha256: str
    content: str
    moment: float


def encode(frame: pd.DataFrame, kind: str, source: RowSource) -> list[Row]:
    """Return a table's rows.

    Parameters
    ----------
    frame
        Rows by their number; columns as `training.data.reading.table.Table.frame` has them. A column that is missing
        is empty.
    kind
        Of the table.
    source
        Of the family.
    """
    columns = source.kinds[kind]
    values = {column.name: _to_json(frame, column) for column in columns}
    moments = np.zeros(len(frame))
    if source.moment:
        moments = _in_seconds(frame[source.moment])
    names = sorted(values)
    rows: list[Row] = []
    seen: Counter[str] = Counter()
    for at, (number, moment) in enumerate(zip(frame.index.tolist(), moments.tolist(), strict=True)):
        content = spell({name: values[name][at] for name in names})
        sha256 = digest(content)
        named = content
        if source.identity:  # a kind without one of these columns is named by the others
            named = spell([values[name][at] for name in source.identity if name in values])
        if source.may_repeat:  # the third of three equal ones is the third in another export, too
            seen[named] += 1
            named = f"{seen[named]}:{named}"
        rows.append(Row(int(number), digest(f"{kind}:{named}"), sha256, content, moment))
    return rows


def decode(contents: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Return the table of rows; an optional column that is empty in all of them is left out."""
    import pandas as pd

    rows = [json.loads(content) for content in contents]
    frame = pd.DataFrame(index=range(len(rows)))
    for column in columns:
        cells = [row[column.name] for row in rows]
        if not column.required and all(cell in (None, "") for cell in cells):
            continue
        if column.kind == "text":
            frame[column.name] = pd.Series(cells, dtype=str)
        elif column.kind == "number":
            frame[column.name] = pd.Series(cells, dtype=float)
        else:
            moments = pd.to_datetime(pd.Series(cells, dtype=str), utc=column.kind == "instant")
            frame[column.name] = moments.astype("datetime64[ns, UTC]" if column.kind == "instant" else "datetime64[ns]")
    return frame


def spell(value: Any) -> str:
    """Return the one JSON text of a value; ASCII, so that any database holds it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(frame: pd.DataFrame, column: Column) -> list[Any]:
    if column.name not in frame:
        return ["" if column.kind == "text" else None] * len(frame)
    cells = frame[column.name]
    if column.kind == "text":
        return list(cells.astype(str))
    if column.kind == "number":
        # a zero has one sign, as equal rows have one hash
        return [value + 0.0 if np.isfinite(value) else None for value in cells.to_numpy(np.float64).tolist()]
    unit, zone = UNITS[column.kind]
    return [text + zone for text in _plain(cells).astype(f"datetime64[{unit}]").astype(str).tolist()]


def _in_seconds(cells: pd.Series) -> Any:
    return _plain(cells).astype("datetime64[s]").astype(np.float64)


def _plain(cells: pd.Series) -> Any:
    """Return moments as datetime64[ns], in UTC where they have a zone."""
    return (cells.dt.tz_localize(None) if cells.dt.tz is not None else cells).to_numpy().astype("datetime64[ns]")

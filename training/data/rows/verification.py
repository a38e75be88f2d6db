"""What is verified of rows before they become visible: what they are must be right, how they are spread is reported.

A row whose hash is not its content's, that is there twice, or that has other columns than its kind, is a fault of the
database: nothing is released. A distribution that moved is a finding: it is in the report, for people to decide on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from marina.monitoring.effects import discoveries, population_stability, stability_beyond_chance
from training.data.reading.columns import Column
from training.data.rows.encoding import decode, digest

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

BINS: Final = 10
MOST_VALUES: Final = 50
"""A text column with more different values is compared by the length of its texts."""

NOTABLE: Final = 0.1
"""The population stability index from which a shift is usually taken to matter."""

LEVEL: Final = 0.01
"""At most this part of the shifts that are reported is expected to be chance."""

FEWEST: Final = 20
"""Rows of which a distribution is compared."""


@dataclass(frozen=True)
class Stored:
    """A row as the database has it; what its fields mean is said by `training.data.rows.encoding.Row`."""

    key: str
    kind: str
    sha256: str
    content: str


def faults(rows: Sequence[Stored], kinds: Mapping[str, Sequence[Column]], may_repeat: bool) -> list[str]:
    """Say what is wrong with rows, each by its key; nothing where all are what they were when they were imported."""
    found: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        if digest(row.content) != row.sha256:
            found.append(f"{row.key}: its content is not what was imported")
        elif row.kind not in kinds:
            found.append(f"{row.key}: expected one of {', '.join(kinds)}, got {row.kind}")
        elif json.loads(row.content).keys() != {column.name for column in kinds[row.kind]}:
            found.append(f"{row.key}: expected the columns of {row.kind}")
        elif not may_repeat and seen.setdefault((row.kind, row.sha256), row.key) != row.key:
            found.append(f"{row.key}: is the same as {seen[row.kind, row.sha256]}")
    return found


def shifts(
    before: Sequence[Stored], new: Sequence[Stored], kinds: Mapping[str, Sequence[Column]], leaving_out: str
) -> dict[str, float]:
    """Return by column how far new rows are from those before, where that is notable and no chance.

    Parameters
    ----------
    before, new
        Rows.
    kinds
        Their columns.
    leaving_out
        The column of their time, which is always another; "" for none.

    Returns
    -------
    dict of str to float
        By ``kind.column``, the population stability index beyond what is expected by chance.

    Notes
    -----
    Without a shift the index over (1/n + 1/m) is asymptotically a chi-squared with (bins - 1) degrees of freedom
    (Yurdakul, 2018). Among all columns the discoveries are controlled (Benjamini & Hochberg, 1995).
    """
    from scipy.stats import chi2

    names: list[str] = []
    effects: list[float] = []
    chances: list[float] = []
    for kind, columns in kinds.items():
        sides = [[row.content for row in side if row.kind == kind] for side in (before, new)]
        if min(map(len, sides)) < FEWEST:
            continue
        old, fresh = (decode(side, columns) for side in sides)
        for column in columns:
            if column.name == leaving_out or column.name not in old or column.name not in fresh:
                continue
            counts = _counts(old[column.name], fresh[column.name], column)
            used = counts[:, counts.sum(axis=0) > 0]
            if used.shape[1] < 2:
                continue
            size = sum(1 / used.sum(axis=1))
            index = float(population_stability(used[0], used[1]))
            names.append(f"{kind}.{column.name}")
            effects.append(float(stability_beyond_chance(used[0], used[1])))
            chances.append(float(chi2.sf(index / size, used.shape[1] - 1)))
    noted = discoveries(chances, LEVEL) if chances else []
    return {
        name: round(effect, 4)
        for name, effect, is_noted in zip(names, effects, noted, strict=True)
        if is_noted and effect >= NOTABLE
    }


def _counts(old: pd.Series, new: pd.Series, column: Column) -> Floats:
    """Return counts [2, bins] of the values before and new, in bins of the former."""
    if column.kind == "text":
        values = old.unique()
        if len(values) <= MOST_VALUES:
            numbers = {value: number for number, value in enumerate(values.tolist())}
            known = [[numbers.get(value, len(numbers)) for value in side] for side in (old, new)]
            return np.stack([_count(side, len(numbers) + 1) for side in known])
    before, after = (_numbers(side, column) for side in (old, new))
    finite = before[np.isfinite(before)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1])) if len(finite) else np.zeros(0)
    counts = []
    for side in (before, after):
        bins = np.where(np.isfinite(side), np.searchsorted(edges, side, side="left"), len(edges) + 1)
        counts.append(_count(bins.tolist(), len(edges) + 2))
    return np.stack(counts)


def _numbers(cells: pd.Series, column: Column) -> Floats:
    if column.kind == "text":
        return np.asarray(cells.str.len(), np.float64)
    return np.asarray(cells if column.kind == "number" else cells.astype("int64"), np.float64)


def _count(bins: Sequence[int], count: int) -> Floats:
    return np.bincount(np.asarray(bins, np.int64), minlength=count).astype(np.float64)

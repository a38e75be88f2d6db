"""One rule per column of numbers or dates: what all of its rows show, what other columns do, or what a user says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from training.data.quality import Fault
from training.data.reading import dates, numbers
from training.data.reading.columns import Column
from training.data.reading.style import MARKS, Mark
from training.data.reading.table import Table

FEW: Final = 0.1
"""Largest share of rows that may deviate from the rest of a column; where there are more, the column is refused."""


def read_numbers(table: Table, columns: Sequence[Column], said: Mark | None, rules: dict[str, str]) -> list[Fault]:
    """Read the columns of numbers into a table's frame.

    Parameters
    ----------
    table
        Its faults grow by the rows that cannot be read.
    columns
        Of kind "number".
    said
        The decimal mark that a user says.
    rules
        Gets what was decided by column.

    Returns
    -------
    list of Fault
        One for each column that can be read in two ways; it is not read.
    """
    texts: dict[str, numbers.NumberColumn] = {}
    for column in columns:
        cells = table.cells[column.name]
        if pd.api.types.is_numeric_dtype(cells.dtype):
            table.put(column.name, cells.astype(np.float64))
            rules[column.name] = "numbers"
            table.refuse_empty(column, cells.isna())
        else:
            texts[column.name] = numbers.NumberColumn(table.texts(column.name))
    weights = {name: cells.weigh() for name, cells in texts.items()}
    clear = {name: mark for name, weight in weights.items() if (mark := decide(weight.rows)) is not None}
    unsure = []
    for column in columns:
        name = column.name
        if name not in texts:
            continue
        weight, mark, shown = weights[name], said, ""
        is_silent = not any(weight.rows.values())
        if mark is not None:
            shown = "as --decimal says"
        elif name in clear:
            mark = clear[name]
            shown = f"{weight.rows[mark]:,} rows, such as {table.show(name, weight.example[mark])}"
        elif is_silent and not weight.either:
            mark = "."
        elif is_silent and len(set(clear.values())) == 1:
            other, mark = next(iter(clear.items()))
            shown = f"as in the column {table.headings[other]!r}"
        if mark is None:
            unsure.append(_doubt_number(table, name, weight))
            continue
        found = texts[name].parse(mark)
        table.put(name, pd.Series(found.values))
        words = "whole numbers" if is_silent and not weight.either else MARKS[mark]
        words += f", thousands by {' and '.join(found.grouped)}" if found.grouped else ""
        words += f", {found.currency}" if found.currency else ""
        rules[name] = words + (f" ({shown})" if shown else "")
        table.refuse(found.faults, name)
        table.refuse_empty(column, pd.Series(found.missing))
    return unsure


def read_dates(table: Table, columns: Sequence[Column], said: bool | None, rules: dict[str, str]) -> list[Fault]:
    """Read the columns of days and instants into a table's frame.

    Parameters
    ----------
    table
        Its faults grow by the rows that cannot be read.
    columns
        Of kind "day" or "instant".
    said
        Whether a user says that the day comes first, or the month; None if neither.
    rules
        Gets what was decided by column.

    Returns
    -------
    list of Fault
        One for each column that can be read in two ways; it is not read.
    """
    texts: dict[str, dates.DateColumn] = {}
    for column in columns:
        cells = table.cells[column.name]
        if pd.api.types.is_datetime64_any_dtype(cells.dtype):
            beyond = cells.notna() & ~cells.dt.year.between(1678, 2261)
            table.put(column.name, _as_kind(cells.mask(beyond), column))
            rules[column.name] = "dates"
            table.refuse(
                dict.fromkeys(np.flatnonzero(beyond).tolist(), ("no such day", "expected 1678 to 2261")), column.name
            )
            table.refuse_empty(column, cells.isna())
        else:
            texts[column.name] = dates.DateColumn(table.texts(column.name))
    weights = {name: cells.weigh() for name, cells in texts.items()}
    clear = {name: order for name, weight in weights.items() if (order := decide(weight.rows)) is not None}
    unsure = []
    for column in columns:
        name = column.name
        if name not in texts:
            continue
        weight, order, shown = weights[name], None, ""
        is_silent = not any(weight.rows.values())
        if not weight.is_ordered or (is_silent and not weight.either and not weight.year_first):
            order = "day"
        elif said is not None:
            order, shown = ("day", "as --day-first says") if said else ("month", "as --month-first says")
        elif name in clear and not weight.year_first:
            order = clear[name]
            shown = f"{order} first: {table.show(name, weight.example[order])}"
        elif is_silent and not weight.year_first and len(set(clear.values())) == 1:
            other, order = next(iter(clear.items()))
            shown = f"{order} first, as in the column {table.headings[other]!r}"
        if order is None:
            unsure.append(_doubt_date(table, name, weight))
            continue
        found = texts[name].parse(weight.form, order)
        moments = pd.Series(found.walls if column.kind == "day" else found.instants)
        table.put(name, _as_kind(moments, column))
        words = dates.describe(weight.form, order) or "no dates"
        if column.kind == "instant":
            words += ", with zones" if found.zoned.all() else ", UTC where no zone is written"
        rules[name] = words + (f" ({shown})" if shown else "")
        table.refuse(found.faults, name)
        table.refuse_empty(column, pd.Series(found.missing))
    return unsure


def decide(rows: dict[Any, int]) -> Any:
    """Return what the rows of a column show, None if nothing or if too many deviate."""
    most = max(rows, key=lambda one: rows[one])
    total = sum(rows.values())
    return most if total and total - rows[most] <= FEW * total else None


def _as_kind(moments: pd.Series, column: Column) -> pd.Series:
    """Return a day as its clock showed it, an instant in UTC; what has no zone is taken to be UTC."""
    zoned = moments.dt.tz is not None
    if column.kind == "day":
        walls = moments.dt.tz_localize(None) if zoned else moments
        return walls.dt.normalize().astype("datetime64[ns]")
    instants = moments.dt.tz_convert("UTC") if zoned else moments.dt.tz_localize("UTC")
    return instants.astype("datetime64[ns, UTC]")


def _doubt_number(table: Table, column: str, weight: numbers.Weight) -> Fault:
    if any(weight.rows.values()):
        kind = "mixed decimal marks"
        counts = " and ".join(
            f"a {MARKS[mark]} in {count:,} rows ({table.show(column, weight.example[mark])})"
            for mark, count in weight.rows.items()
        )
        wrong = f"expected one decimal mark, got {counts}"
    else:
        kind = "ambiguous numbers"
        shown = table.show(column, weight.example[""])
        wrong = f"expected numbers of one meaning, got {shown} and {weight.either - 1:,} more: thousands or decimals?"
    detail = f"column {table.headings[column]!r}: {wrong}; say which with --decimal , or --decimal ."
    return Fault(table.file, None, kind, detail)


def _doubt_date(table: Table, column: str, weight: dates.Weight) -> Fault:
    kind, remedy = "ambiguous dates", "say which with --day-first or --month-first"
    if weight.year_first:
        wrong = "expected dates of one meaning, got two-digit numbers of which the first can be day or year"
        remedy = "write the years with four digits, or pass --day-first"
    elif any(weight.rows.values()):
        kind = "mixed dates"
        counts = " and ".join(
            f"the {order} in {count:,} rows ({table.show(column, weight.example[order])})"
            for order, count in weight.rows.items()
        )
        wrong = f"expected day or month first in the whole column, got {counts}"
    else:
        shown = table.show(column, weight.example[""])
        wrong = f"expected dates of one meaning, got {shown} and {weight.either - 1:,} more: day or month first?"
    return Fault(table.file, None, kind, f"column {table.headings[column]!r}: {wrong}; {remedy}")

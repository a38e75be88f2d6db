"""Tables read for training: any file that is one, each column by one rule."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from training.data.quality import BadDataError, Fault
from training.data.reading import layout
from training.data.reading.columns import Column, find_missing, match
from training.data.reading.decisions import read_dates, read_numbers
from training.data.reading.encodings import open_table
from training.data.reading.style import Style
from training.data.reading.table import Account, Table


class TableReader:
    """Reads tables by a style, and keeps an account of each.

    Parameters
    ----------
    style
        What a user says of columns that can be read in two ways.
    """

    def __init__(self, style: Style | None = None) -> None:
        self.style = style or Style()
        self.accounts: list[Account] = []

    def read(self, path: Path, columns: Sequence[Column]) -> Table:
        """Read a file.

        Parameters
        ----------
        path
            Text with separators in any usual encoding, or parquet; packed or not.
        columns
            What is read of it; no two columns are taken from one heading.

        Raises
        ------
        training.data.quality.BadDataError
            If the file is no table, has no heading with the required columns, or has a column that can be read in two
            ways.
        FileNotFoundError
            If there is no such file.
        """
        opened = open_table(path)
        account = Account(path.name, opened.description)
        self.accounts.append(account)
        if opened.text is None:
            table = _of_parquet(opened.content, columns, account)
        else:
            table = _of_text(opened.text, columns, account)
        found = [column for column in columns if column.name in table.cells]
        rules: dict[str, str] = {}
        unsure = read_numbers(table, [one for one in found if one.kind == "number"], self.style.decimal, rules)
        its_dates = [one for one in found if one.kind in ("day", "instant")]
        unsure += read_dates(table, its_dates, self.style.day_first, rules)
        for column in found:
            if column.kind == "text":
                texts = table.texts(column.name)
                table.put(column.name, texts)
                rules[column.name] = "text"
                table.refuse_empty(column, texts.str.strip() == "")
        account.rules += [f"{table.name(one.name)}: {rules[one.name]}" for one in found if one.name in rules]
        if unsure:
            raise BadDataError(unsure)
        table.frame = table.frame[[column.name for column in found]]
        return table


def _of_text(text: str, columns: Sequence[Column], account: Account) -> Table:
    rows = layout.split(text, columns, account.file)
    account.rows = rows.count
    account.description += (
        f", separated by {layout.SEPARATORS[rows.separator]}, heading in line {rows.heading_line}, {rows.count:,} rows"
    )
    account.rules += rows.notes
    used = {place for places in rows.places.values() for place in places}
    unused = [heading for place, heading in enumerate(rows.heading) if heading and place not in used]
    if unused:
        account.rules.append(f"not used: {', '.join(unused)}"[:200])
    transposed = list(zip(*rows.cells, strict=True)) or [()] * len(rows.heading)
    cells, headings = {}, {}
    for name, places in rows.places.items():
        first = places[0]
        if any(transposed[place] != transposed[first] for place in places[1:]):
            detail = f"expected one column {rows.heading[first]!r}, got {len(places)} that differ: rename the others"
            raise BadDataError([Fault(account.file, None, "ambiguous heading", detail)])
        headings[name] = rows.heading[first]
        found = pd.Series(transposed[first], index=rows.numbers, dtype=str)
        cells[name] = found.reindex(range(rows.count), fill_value="")
    lines = np.zeros(rows.count, np.int64)
    lines[rows.numbers] = rows.lines
    frame = pd.DataFrame(index=rows.numbers)
    return Table(account.file, account, cells, headings, lines.tolist(), frame, rows.faults)


def _of_parquet(content: bytes, columns: Sequence[Column], account: Account) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        names = list(file.schema_arrow.names)
        places = match(names, columns)
        if missing := find_missing(places, columns):
            detail = f"expected a column {missing[0].name!r}, got {', '.join(names)[:300]}"
            raise BadDataError([Fault(account.file, None, f"missing column {missing[0].name}", detail)])
        if twice := next((mine for mine in places.values() if len(mine) > 1), None):
            detail = f"expected one column of each kind, got {' and '.join(repr(names[place]) for place in twice)}"
            raise BadDataError([Fault(account.file, None, "ambiguous heading", f"{detail}; keep the one that counts")])
        whole = file.read([names[mine[0]] for mine in places.values()]).to_pandas(ignore_metadata=True)
    except pa.ArrowException as error:
        raise BadDataError([Fault(account.file, None, "unreadable file", str(error))]) from None
    account.rows = len(whole)
    account.description += f", {len(whole):,} rows"
    headings = {name: names[mine[0]] for name, mine in places.items()}
    cells = {name: whole[heading] for name, heading in headings.items()}
    return Table(account.file, account, cells, headings, None, pd.DataFrame(index=range(len(whole))), [])

"""Recorded catalogues: tables of products with their codes, as the Rakuten France challenge gives them.

A file is a table (text of any usual encoding, or parquet) with the columns ``designation``, ``description`` (may be
empty) and ``prdtypecode``. Where a row's ``designation`` is empty and there is a column ``text`` (title and description
in one, as some collections keep them), that is the designation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.quality import Fault, OnBad
from training.data.reading.columns import Column
from training.data.reading.encodings import find_tables
from training.data.reading.reader import TableReader
from training.data.reading.table import Table
from training.data.tables import checked

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    Column("designation", headings=("title", "titre", "désignation"), blank=True),
    Column("description", blank=True),
    Column("prdtypecode", headings=("code",)),
    Column("text", required=False),
)
WHOLE = r"\d+\.0"
JOINT = " -"
"""What stands between title and description where a collection joined them; at the end, there was no description."""


def files(path: Path) -> list[Path]:
    """Return the files of a catalogue: the one at the path, or all in the folder there.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    return find_tables(path)


def read(path: Path, on_bad: OnBad = "skip", reader: TableReader | None = None) -> tuple[pd.DataFrame, list[Fault]]:
    """Read a catalogue.

    Parameters
    ----------
    path
        A file or a folder of files.
    on_bad
        Whether bad rows are left out, or all of it is refused.
    reader
        Keeps an account of how the files were read.

    Returns
    -------
    frame
        Columns ``designation``, ``description`` (empty where there is none) and ``code``, all str.
    faults
        What was wrong with other rows, by file and row.

    Raises
    ------
    BadDataError
        If rows are bad and `on_bad` is "refuse"; or, either way, if a file cannot be read, a column is missing, or
        nothing sound is left.
    FileNotFoundError
        If there is nothing at the path.
    """
    import pandas as pd

    reader = reader or TableReader()
    frames, faults = [], []
    for file in files(path):
        frame, found = read_file(file, on_bad, reader)
        frames.append(frame)
        faults += found
    return pd.concat(frames, ignore_index=True), faults


def read_file(file: Path, on_bad: OnBad, reader: TableReader) -> tuple[pd.DataFrame, list[Fault]]:
    """Read one file as `read` does; the rows keep their numbers in it as index."""
    table = reader.read(file, COLUMNS)
    return checked(_products(table), _schema(), file.name, on_bad, table, keep_index=True)


def _products(table: Table) -> pd.DataFrame:
    frame = table.frame
    designation, code = frame["designation"], frame["prdtypecode"].str.strip()
    if "text" in frame:
        designation = designation.where(designation != "", frame["text"].str.removesuffix(JOINT))
    if code.str.fullmatch(WHOLE).all():
        # Spreadsheets and data frames write codes as decimals where one is missing.
        table.account.rules.append("prdtypecode: without the '.0' that all of them end in")
        code = code.str.removesuffix(".0")
    return frame.assign(designation=designation, code=code)[["designation", "description", "code"]]


def _schema() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "designation": pa.Column(str, [pa.Check.str_length(1, 20_000), pa.Check.str_matches(r"(?s).*\w")]),
            "description": pa.Column(str, pa.Check.str_length(0, 200_000)),
            "code": pa.Column(str, pa.Check.str_matches(r"^[0-9]{1,5}$")),
        }
    )

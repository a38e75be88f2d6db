"""A household's own transactions, from whatever its bank exports, checked before anything learns from them.

Columns, by their own names or by the headings of `training.budget.bank_columns`: ``label``; ``amount`` in EUR, negative
when spent, or a pair of ``debit`` and ``credit``; ``date``; ``category`` where it is known; and where there are
several, ``user`` and ``account``. ``merchant``, the canonical name, is used where it is given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from models.budget.labels import LONGEST_LABEL
from training.budget.bank_columns import COLUMNS, complete_amounts
from training.data.quality import Fault, OnBad
from training.data.reading.encodings import find_tables
from training.data.reading.reader import TableReader
from training.data.tables import checked

REQUIRED = ("label", "amount", "date")
OPTIONAL = ("user", "account", "category", "merchant")

SCHEMA = pa.DataFrameSchema(
    {
        "label": pa.Column(str, pa.Check.str_length(1, LONGEST_LABEL)),
        "amount": pa.Column(float, [pa.Check(np.isfinite, name="finite"), pa.Check.in_range(-1e9, 1e9)]),
        "date": pa.Column("datetime64[ns]", pa.Check.in_range(pd.Timestamp("1900-01-01"), pd.Timestamp("2199-12-31"))),
        **{name: pa.Column(str, required=False) for name in OPTIONAL},
    },
    strict=False,
)


def read(path: Path, on_bad: OnBad = "skip", reader: TableReader | None = None) -> tuple[pd.DataFrame, list[Fault]]:
    """Read transactions, sorted by user and date.

    Parameters
    ----------
    path
        A table, or a folder of them: one export per account or year, say.
    on_bad
        Whether bad rows are left out, or all is refused.
    reader
        Decides what a file leaves open, and keeps an account of it.

    Returns
    -------
    frame, faults
        Columns user, date, label, amount, account, category ("" where it is not known), and merchant if the file has
        it; and what was left out.

    Raises
    ------
    BadDataError
        If a column is missing or can be read in two ways, nothing sound is left, or rows are bad and `on_bad` says to
        refuse.
    FileNotFoundError
        If there is no such file.
    """
    reader = reader or TableReader()
    frames, faults = [], []
    for file in find_tables(path):
        frame, found = read_file(file, on_bad, reader)
        frames.append(frame)
        faults += found
    whole = pd.concat(frames, ignore_index=True)
    for name in OPTIONAL:
        if name in whole:
            whole[name] = whole[name].fillna("")
    return whole.sort_values(["user", "date"], kind="stable").reset_index(drop=True), faults


def read_file(file: Path, on_bad: OnBad, reader: TableReader) -> tuple[pd.DataFrame, list[Fault]]:
    """Read one file as `read` does; the rows keep their order, and their numbers in it as index."""
    table = reader.read(file, COLUMNS)
    complete_amounts(table)
    frame = table.frame[[name for name in (*REQUIRED, *OPTIONAL) if name in table.frame]].copy()
    # Banks break lines inside a label; the models' requests have none.
    frame["label"] = frame["label"].str.replace(r"\s*[\r\n\t]\s*", " ", regex=True).str.strip()
    for name in OPTIONAL:
        if name in frame:
            frame[name] = frame[name].str.strip()
    sound, faults = checked(frame, SCHEMA, file.name, on_bad, table, keep_index=True)
    for name, default in (("user", "user"), ("account", "main"), ("category", "")):
        if name not in sound:
            sound[name] = default
    return sound, faults

"""Recorded card transactions: corporate purchase cards, in English, a stand-in for household accounts.

One table (parquet, or text of any usual encoding) with the columns date, merchant, amount (positive when spent),
category, card, unit, statement and repeat_in_statement, such as the purchase-card statements that British councils
publish under the Open Government Licence v3.0. Rows come out in the columns that `training.budget.synthetic.accounts`
makes, so that whatever learns from the one can learn from the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pandera.pandas as pa

from training.data.quality import BadDataError, Fault, OnBad
from training.data.reading.columns import Column
from training.data.reading.encodings import is_table
from training.data.reading.reader import TableReader
from training.data.tables import checked

COLUMNS: Final = ("user", "date", "label", "amount", "account", "category", "merchant", "statement", "repeat")

SCHEMA: Final = pa.DataFrameSchema(
    {
        "user": pa.Column(str, pa.Check.str_length(1, 64)),
        "date": pa.Column("datetime64[ns]", pa.Check.in_range(pd.Timestamp("1990-01-01"), pd.Timestamp("2199-12-31"))),
        "label": pa.Column(str, pa.Check.str_length(1, 200)),
        "amount": pa.Column(float, [pa.Check(np.isfinite, name="finite"), pa.Check.in_range(-1e7, 1e7)]),
        "account": pa.Column(str),
        "category": pa.Column(str, pa.Check.str_length(1, 100)),
        "statement": pa.Column(str, pa.Check.str_matches(r"^\d{4}-\d{2}$")),
        "repeat": pa.Column(bool),
    },
    strict=False,
)

_COLUMNS: Final = (
    Column("card"), Column("date", "day"), Column("merchant"), Column("amount", "number"), Column("unit", blank=True),
    Column("category", blank=True), Column("statement"), Column("repeat_in_statement", "number", blank=True),
)  # fmt: skip
_RENAMED: Final = {
    "card": "user", "merchant": "label", "unit": "account", "repeat_in_statement": "repeat",
}  # fmt: skip
NAME: Final = "card_transactions"
LEAST: Final = 200
"""Rows that a category needs to be learned."""


def file(path: Path) -> Path:
    """Return the file meant by a path: itself, or ``card_transactions`` in the folder, of any ending of a table.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    candidates = sorted(path.glob(f"{NAME}.*")) if path.is_dir() else [path]
    found = [one for one in candidates if one.is_file() and (one == path or is_table(one.name))]
    if not found:
        raise FileNotFoundError(f"expected a table of card transactions, such as {NAME}.parquet, found none at {path}")
    return found[0]


def read(
    path: Path, *, least: int = LEAST, on_bad: OnBad = "skip", reader: TableReader | None = None
) -> tuple[pd.DataFrame, list[Fault]]:
    """Read labelled transactions, sorted by date.

    Parameters
    ----------
    path
        The file, or its folder.
    least
        Rows that a category needs; rarer ones are left out (they are no fault).
    on_bad
        Whether bad rows are left out, or the file is refused.
    reader
        Decides what a file leaves open, and keeps an account of it.

    Returns
    -------
    frame, faults
        Columns `COLUMNS`: user is the card, account the unit it belongs to, amount negative when spent, merchant the
        same as label, repeat whether the row repeats an earlier one of its statement. And what was left out.

    Raises
    ------
    BadDataError
        If a column is missing, nothing sound is left, or rows are bad and `on_bad` says to refuse.
    FileNotFoundError
        If there is no file.
    """
    path = file(path)
    table = (reader or TableReader()).read(path, _COLUMNS)
    frame = table.frame.rename(columns=_RENAMED)
    frame["amount"] = -frame["amount"]
    frame["repeat"] = frame["repeat"].fillna(0).astype(bool)
    for name in ("user", "label", "account", "category", "statement"):
        frame[name] = frame[name].str.strip()
    sound, faults = checked(frame, SCHEMA, path.name, on_bad, table)
    frequent = sound["category"].map(sound["category"].value_counts()) >= least
    sound = sound[frequent]
    if sound.empty:
        raise BadDataError([Fault(path.name, None, "nothing left", f"no category has {least} rows")])
    ordered = sound.sort_values(["date", "user"], kind="stable", ignore_index=True)
    return ordered.assign(merchant=ordered["label"])[list(COLUMNS)], faults

"""Bank transactions as rows of the database (`training.data.rows`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.budget import user_tables
from training.budget.synthetic import accounts
from training.data.quality import Fault
from training.data.reading.columns import Column
from training.data.reading.encodings import find_tables
from training.data.reading.reader import TableReader
from training.data.rows.source import RowSource

if TYPE_CHECKING:
    import pandas as pd

KIND: Final = "transactions"
MONTHS: Final = 24
A_MONTH: Final = 20
"""Fewer than a generated household's transactions of a month."""


def read(file: Path, reader: TableReader) -> tuple[str, pd.DataFrame, list[Fault]]:
    """Read the transactions of a bank's export."""
    return KIND, *user_tables.read_file(file, "skip", reader)


def generate(rows: int, seed: int) -> Mapping[str, pd.DataFrame]:
    """Generate the transactions of whole households, as many as there are rows for, one at least."""
    users = math.ceil(rows / (MONTHS * A_MONTH))
    frame = accounts.generate(accounts.Synthesis(users=users, months=MONTHS, seed=seed))
    return {KIND: frame.head(rows).assign(user=lambda made: f"{seed}-" + made["user"])}


SOURCE: Final = RowSource(
    kinds={
        KIND: (
            Column("user"), Column("date", "day"), Column("label"), Column("amount", "number"), Column("account"),
            Column("category"), Column("merchant", required=False),
        )
    },
    files=find_tables,
    read=read,
    generate=generate,
    moment="date",
    may_repeat=True,
    labelled={
        "budget_categorizer": {
            **{name: name for name in ("user", "date", "label", "amount", "account")}, "": "category",
        }
    },
)  # fmt: skip

"""A household's own transactions, from a ``.csv`` or ``.parquet`` file, checked before anything learns from them.

Columns: ``label``, ``amount`` in EUR (negative when spent), ``date``; ``category`` where it is known; and where there
are several, ``user`` and ``account``. ``merchant``, the canonical name, is used where it is given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from training.data.quality import BadDataError, Fault, OnBad
from training.data.tables import checked

LONGEST_LABEL = 200
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


def read(path: Path, on_bad: OnBad = "skip") -> tuple[pd.DataFrame, list[Fault]]:
    """Read transactions, sorted by user and date.

    Parameters
    ----------
    path
        A ``.csv`` (of any compression pandas knows) or ``.parquet`` file.
    on_bad
        Whether bad rows are left out, or the file is refused.

    Returns
    -------
    frame, faults
        Columns user, date, label, amount, account, category ("" where it is not known), and merchant if the file has
        it; and what was left out.

    Raises
    ------
    BadDataError
        If a column is missing, nothing sound is left, or rows are bad and `on_bad` says to refuse.
    FileNotFoundError
        If there is no such file.
    """
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"label": str})
    if missing := [name for name in REQUIRED if name not in frame]:
        detail = f"expected the columns {', '.join(REQUIRED)}, got {', '.join(map(str, frame.columns))}"
        raise BadDataError([Fault(path.name, None, f"missing column {missing[0]}", detail)])
    frame = frame[[name for name in (*REQUIRED, *OPTIONAL) if name in frame]].copy()
    frame["amount"] = pd.to_numeric(frame["amount"], errors="coerce").astype(np.float64)
    frame["date"] = pd.to_datetime(frame["date"], errors="coerce").astype("datetime64[ns]").dt.normalize()
    for name in OPTIONAL:
        if name in frame:
            frame[name] = frame[name].fillna("").astype(str).str.strip()
    sound, faults = checked(frame, SCHEMA, path.name, on_bad)
    for name, default in (("user", "user"), ("account", "main"), ("category", "")):
        if name not in sound:
            sound[name] = default
    return sound.sort_values(["user", "date"], kind="stable").reset_index(drop=True), faults

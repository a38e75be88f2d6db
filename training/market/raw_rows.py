"""Candles, funding rates and the Fear & Greed index as rows of the database (`training.data.rows`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from training.data.quality import Fault
from training.data.reading.encodings import stem
from training.data.reading.reader import TableReader
from training.data.rows.source import RowSource
from training.market import recorded
from training.market.synthetic import Synthesis
from training.market.synthetic import generate as synthesise

if TYPE_CHECKING:
    import pandas as pd

ASSETS: Final = 4


def read(file: Path, reader: TableReader) -> tuple[str, pd.DataFrame, list[Fault]]:
    """Read a file of a market; its name says of which kind it is."""
    frame, faults, _ = recorded.read_file(file, "skip", reader)
    return stem(recorded.kind_of(file)), frame, faults


def generate(rows: int, seed: int) -> Mapping[str, pd.DataFrame]:
    """Generate the candles of a few assets: each opens at the close before it, and has no longer wick."""
    import pandas as pd

    made = synthesise(Synthesis(hours=max(2, rows // ASSETS + 1), assets=ASSETS, seed=seed))
    tables = []
    for asset, closes in zip(made.assets, made.prices.T, strict=True):
        opens, ends = closes[:-1], closes[1:]
        whole = np.isfinite(opens) & np.isfinite(ends)
        prices = {
            "open": opens, "high": np.maximum(opens, ends), "low": np.minimum(opens, ends), "close": ends,
        }  # fmt: skip
        dates = pd.to_datetime(made.times[:-1]).tz_localize("UTC").astype("datetime64[ns, UTC]")
        tables.append(pd.DataFrame({"asset": asset, "date": dates, **prices})[whole])
    frame = pd.concat(tables).sort_values(["date", "asset"], ignore_index=True)
    return {stem(recorded.PRICES): frame}


SOURCE: Final = RowSource(
    kinds={stem(name): columns for name, columns in recorded.COLUMNS.items()},
    files=recorded.files,
    read=read,
    generate=generate,
    moment="date",
    identity=("asset", "date"),
)

"""Recorded markets: hourly candles, and where there are any funding rates and the Fear & Greed index.

A file of candles, or a folder of tables (parquet or text, packed or not) that are known by the beginning of their name:

``ohlcv_1h``
    ``asset``, ``date`` (when the candle OPENS, UTC where no zone is written), ``open``, ``high``, ``low``, ``close``.
    A close is known an hour after its date. Several such files are one history.
``funding_8h``, optional
    ``asset``, ``date`` (when the rate is settled, and known), ``funding_rate`` as a fraction.
``fear_greed_daily``, optional
    ``date``, ``fng`` from 0 to 100. The index of a day is taken to be known when the day is over.

Nothing is known before its time: what a row of `History.context` holds had been published by then. What is there twice
alike, as where two downloads overlap, is kept once; an hour of which two rows differ is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.market.checks import POSSIBLE
from models.market.features import CONTEXT
from models.market.windows import LARGE, LEAST_ASSETS
from training.data.quality import BadDataError, Fault, OnBad
from training.data.reading.columns import Column
from training.data.reading.encodings import is_table, stem
from training.data.reading.reader import TableReader
from training.data.reading.table import Table
from training.data.tables import checked
from training.market.history import History

if TYPE_CHECKING:
    import pandas as pd

PRICES: Final = "ohlcv_1h.parquet"
FUNDING: Final = "funding_8h.csv"
FEAR_GREED: Final = "fear_greed_daily.csv"
"""The usual names; of a file in a folder only the part before the point has to agree."""

_ASSET: Final = Column("asset", headings=("symbol", "ticker", "pair", "coin"))
_DATE: Final = Column(
    "date", "instant", ("open time", "opentime", "open_time_utc", "datetime", "date time", "timestamp", "unix", "time")
)
_VALUES: Final = ("open", "high", "low", "close")
COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    PRICES: (_ASSET, _DATE, *(Column(one, "number", (f"{one} price", one[0])) for one in _VALUES)),
    FUNDING: (_ASSET, _DATE, Column("funding_rate", "number", ("rate", "last funding rate"))),
    FEAR_GREED: (_DATE, Column("fng", "number", ("fear and greed", "fear greed index", "value"))),
}

FUNDING_STALE_H: Final = 24
"""A funding rate is forgotten after this many hours without a newer one; they are settled every 8 h."""

INDEX_STALE_H: Final = 72
"""The same for the index, which comes daily."""


def files(path: Path) -> list[Path]:
    """Return the files of a recorded market: a file of candles itself, or those in a folder, the candles first.

    Raises
    ------
    FileNotFoundError
        If there are no prices.
    """
    if path.is_file():
        return [path]
    found = [file for kind in COLUMNS for file in _of_kind(path, kind)]
    if not found or kind_of(found[0]) != PRICES:
        raise FileNotFoundError(f"expected a folder with {PRICES}, found none at {path}")
    return found


def kind_of(file: Path) -> str:
    """Return which of the three kinds a file is by its name; one that has no such name is of candles."""
    return next((kind for kind in (FUNDING, FEAR_GREED) if file.name.startswith(stem(kind))), PRICES)


def _of_kind(folder: Path, kind: str) -> list[Path]:
    found = sorted(folder.glob(f"{stem(kind)}*"))
    return [file for file in found if file.is_file() and is_table(file.name)]


def read(path: Path, on_bad: OnBad = "skip", reader: TableReader | None = None) -> tuple[History, list[Fault]]:
    """Read a recorded market.

    Parameters
    ----------
    path
        Its folder, or a file of candles.
    on_bad
        Whether bad rows are left out (a price left out is a missing one), or all of it is refused.
    reader
        Decides what a file leaves open, and keeps an account of it.

    Returns
    -------
    history, faults
        Assets that lack Bitcoin's first or last hour are kept: their closes are NaN there.

    Raises
    ------
    BadDataError
        If rows are bad and `on_bad` is "refuse"; if Bitcoin, Ether, or a third asset is missing; or if nothing is left.
    FileNotFoundError
        If there are no prices.
    """
    import pandas as pd

    reader, found, faults = reader or TableReader(), files(path), []
    tables: dict[str, pd.DataFrame] = {}
    for kind in COLUMNS:
        if mine := [file for file in found if kind_of(file) == kind]:
            tables[kind], more = _read_kind(mine, on_bad, reader)
            faults += more
    closes = tables[PRICES].pivot(index="date", columns="asset", values="close")
    if not set(LARGE) <= set(closes.columns) or len(closes.columns) < LEAST_ASSETS:
        wanted = f"expected {' and '.join(LARGE)} and at least one more asset, got {', '.join(closes.columns)}"
        raise BadDataError([*faults, Fault(found[0].name, None, "missing asset", wanted)])
    opened = pd.date_range(closes.index[0], closes.index[-1], freq="h")
    closes = closes.reindex(opened)[[*LARGE, *sorted(set(closes.columns) - set(LARGE))]]
    known = opened + pd.Timedelta(hours=1)
    context = np.full((len(known), len(CONTEXT)), np.nan)
    if FUNDING in tables:
        context[:, CONTEXT.index("funding_rate")] = _latest_mean(tables[FUNDING], known)
    if FEAR_GREED in tables:
        over = tables[FEAR_GREED].set_index("date")["fng"].sort_index()
        over.index = over.index + pd.Timedelta(days=1)
        context[:, CONTEXT.index("fear_greed")] = _latest(over, known, INDEX_STALE_H)
    times = known.tz_convert(None).to_numpy().astype("datetime64[h]")
    return History(times, tuple(map(str, closes.columns)), closes.to_numpy(np.float64), context), faults


def read_file(file: Path, on_bad: OnBad, reader: TableReader) -> tuple[pd.DataFrame, list[Fault], Table]:
    """Read one file of any kind, and what it was read from; the rows keep their numbers in it as index."""
    kind = kind_of(file)
    table = reader.read(file, COLUMNS[kind])
    if "asset" in table.frame:
        table.frame["asset"] = table.frame["asset"].str.strip()
    schema = {PRICES: _candles, FUNDING: _rates, FEAR_GREED: _index}[kind]()
    return (*checked(table.frame, schema, file.name, on_bad, table, keep_index=True), table)


def _read_kind(paths: list[Path], on_bad: OnBad, reader: TableReader) -> tuple[pd.DataFrame, list[Fault]]:
    import pandas as pd

    frames, faults, tables = [], [], {}
    for file in paths:
        sound, found, table = read_file(file, on_bad, reader)
        tables[file.name] = table
        frames.append(sound.assign(file=file.name, row=sound.index))
        faults += found
    whole, repeated = _once(pd.concat(frames, ignore_index=True), tables)
    if repeated and on_bad == "refuse":
        raise BadDataError([*faults, *repeated])
    return whole, [*faults, *repeated]


def _once(frame: pd.DataFrame, tables: dict[str, Table]) -> tuple[pd.DataFrame, list[Fault]]:
    """Keep one of the rows that are there several times alike; make faults of rows of one hour that differ."""
    key = [name for name in ("asset", "date") if name in frame]
    values = [name for name in frame.columns if name not in ("file", "row")]
    alike = frame.duplicated(values)
    for file, count in frame.loc[alike, "file"].value_counts().items():
        tables[file].account.rules.append(f"{count:,} rows that repeat another one exactly; one of each is kept")
    clear = frame[~alike]
    differ = clear.duplicated(key, keep=False)
    if not differ.any():
        return clear[values].reset_index(drop=True), []
    # Rows that repeat one of those that differ are refused with it: every row is kept, repeated or refused.
    unequal = frame.merge(clear.loc[differ, key].drop_duplicates(), on=key)
    faults = []
    for row in unequal.to_dict("records"):
        hour = " ".join(str(row[name]) for name in key)
        numbers = ", ".join(f"{name} {row[name]:.12g}" for name in values if name not in key)
        detail = f"{tables[row['file']].place(row['row'])}: expected equal rows of {hour} or one alone, got {numbers}"
        faults.append(Fault(row["file"], row["row"], "unequal rows of one hour", detail))
    if differ.all():
        raise BadDataError(faults)
    return clear.loc[~differ, values].reset_index(drop=True), faults


def _latest_mean(rates: pd.DataFrame, known: pd.DatetimeIndex) -> npt.NDArray[np.float64]:
    """Return at each time the mean of the assets' latest rates; NaN where no asset has a recent one."""
    series = [
        _latest(mine.set_index("date")["funding_rate"].sort_index(), known, FUNDING_STALE_H)
        for _, mine in rates.groupby("asset")
    ]
    latest = np.stack(series)  # (assets, hours)
    seen = np.isfinite(latest)
    count = seen.sum(axis=0)
    mean: npt.NDArray[np.float64] = np.where(seen, latest, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
    return mean


def _latest(values: pd.Series, known: pd.DatetimeIndex, stale_h: int) -> npt.NDArray[np.float64]:
    import pandas as pd

    filled = values.reindex(known, method="ffill", tolerance=pd.Timedelta(hours=stale_h))
    latest: npt.NDArray[np.float64] = filled.to_numpy(np.float64)
    return latest


def _candles() -> Any:
    import pandera.pandas as pa

    price = pa.Column(float, [pa.Check.gt(0, error="not positive"), pa.Check.lt(1e12, error="infinite")], coerce=True)
    return pa.DataFrameSchema(
        {
            "asset": pa.Column(str, pa.Check.str_length(1, 16, error="no name"), coerce=True),
            "date": _hour(),
            **dict.fromkeys(("open", "high", "low", "close"), price),
        },
        checks=[
            pa.Check(lambda frame: frame["high"] >= frame[["open", "close", "low"]].max(axis=1), error="high too low"),
            pa.Check(lambda frame: frame["low"] <= frame[["open", "close"]].min(axis=1), error="low too high"),
        ],
    )


def _rates() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "asset": pa.Column(str, coerce=True),
            "date": _hour(),
            "funding_rate": pa.Column(
                float,
                pa.Check.in_range(*POSSIBLE["funding_rate"], error="no fraction of a large asset's funding"),
                coerce=True,
            ),
        },
    )


def _index() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "date": _hour(),
            "fng": pa.Column(float, pa.Check.in_range(0, 100, error="not an index"), coerce=True),
        },
    )


def _hour() -> Any:
    """Return a column of whole hours in UTC."""
    import pandas as pd
    import pandera.pandas as pa

    return pa.Column(
        pd.DatetimeTZDtype("ns", "UTC"),
        [
            pa.Check(lambda dates: dates == dates.dt.floor("h"), error="not a whole hour"),
            pa.Check(lambda dates: dates <= pd.Timestamp.now("UTC"), error="in the future"),
        ],
        coerce=True,
    )

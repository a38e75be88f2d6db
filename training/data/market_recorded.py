"""Recorded markets: a folder of hourly candles, and where there are any funding rates and the Fear & Greed index.

``ohlcv_1h.parquet``
    ``asset``, ``date`` (when the candle OPENS, UTC), ``open``, ``high``, ``low``, ``close``. A close is known an hour
    after its date.
``funding_8h.csv`` (or ``.csv.gz``), optional
    ``asset``, ``date`` (when the rate is settled, and known), ``funding_rate`` as a fraction.
``fear_greed_daily.csv`` (or ``.csv.gz``), optional
    ``date``, ``fng`` from 0 to 100. The index of a day is taken to be known when the day is over.

Nothing is known before its time: what a row of `History.context` holds had been published by then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.market.features import CONTEXT
from models.market.windows import LARGE, LEAST_ASSETS
from training.data.market_history import History
from training.data.quality import BadDataError, Fault, OnBad
from training.data.tables import checked

if TYPE_CHECKING:
    import pandas as pd

PRICES: Final = "ohlcv_1h.parquet"
FUNDING: Final = "funding_8h.csv"
FEAR_GREED: Final = "fear_greed_daily.csv"

FUNDING_STALE_H: Final = 24
"""A funding rate is forgotten after so many hours without a newer one; they are settled every 8 h."""

INDEX_STALE_H: Final = 72
"""The same for the index, which comes daily."""


def files(path: Path) -> list[Path]:
    """Return the files of a recorded market that are in a folder.

    Raises
    ------
    FileNotFoundError
        If there are no prices.
    """
    found = [path / PRICES] if (path / PRICES).is_file() else []
    if not found:
        raise FileNotFoundError(f"expected a folder with {PRICES}, found none at {path}")
    for name in (FUNDING, FEAR_GREED):
        found += [file for file in (path / name, path / f"{name}.gz") if file.is_file()][:1]
    return found


def read(path: Path, on_bad: OnBad = "skip") -> tuple[History, list[Fault]]:
    """Read a recorded market.

    Parameters
    ----------
    path
        Its folder.
    on_bad
        Whether bad rows are left out (a price left out is a missing one), or all of it is refused.

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

    by_name = {file.name.removesuffix(".gz"): file for file in files(path)}
    columns = ["asset", "date", "open", "high", "low", "close"]
    candles, faults = checked(pd.read_parquet(by_name[PRICES], columns=columns), _candles(), PRICES, on_bad)
    closes = candles.pivot(index="date", columns="asset", values="close")
    if not set(LARGE) <= set(closes.columns) or len(closes.columns) < LEAST_ASSETS:
        wanted = f"expected {' and '.join(LARGE)} and at least one more asset, got {', '.join(closes.columns)}"
        raise BadDataError([*faults, Fault(PRICES, None, "missing asset", wanted)])
    opened = pd.date_range(closes.index[0], closes.index[-1], freq="h")
    closes = closes.reindex(opened)[[*LARGE, *sorted(set(closes.columns) - set(LARGE))]]
    known = opened + pd.Timedelta(hours=1)
    context = np.full((len(known), len(CONTEXT)), np.nan)
    if file := by_name.get(FUNDING):
        rates, more = checked(pd.read_csv(file), _rates(), FUNDING, on_bad)
        faults += more
        context[:, CONTEXT.index("funding_rate")] = _latest_mean(rates, known)
    if file := by_name.get(FEAR_GREED):
        index, more = checked(pd.read_csv(file), _index(), FEAR_GREED, on_bad)
        faults += more
        over = index.set_index("date")["fng"].sort_index()
        over.index = over.index + pd.Timedelta(days=1)
        context[:, CONTEXT.index("fear_greed")] = _latest(over, known, INDEX_STALE_H)
    times = known.tz_convert(None).to_numpy().astype("datetime64[h]")
    return History(times, tuple(map(str, closes.columns)), closes.to_numpy(np.float64), context), faults


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
        unique=["asset", "date"],
    )


def _rates() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "asset": pa.Column(str, coerce=True),
            "date": _hour(),
            "funding_rate": pa.Column(float, pa.Check.in_range(-0.1, 0.1, error="beyond 10 %"), coerce=True),
        },
        unique=["asset", "date"],
    )


def _index() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "date": _hour(),
            "fng": pa.Column(float, pa.Check.in_range(0, 100, error="not an index"), coerce=True),
        },
        unique=["date"],
    )


def _hour() -> Any:
    """Return a column of whole hours in UTC."""
    import pandas as pd
    import pandera.pandas as pa

    return pa.Column(
        pd.DatetimeTZDtype("ns", "UTC"),
        pa.Check(lambda dates: dates == dates.dt.floor("h"), error="not a whole hour"),
        coerce=True,
    )

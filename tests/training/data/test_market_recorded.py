import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.market.features import rolling
from training.data.market_recorded import FEAR_GREED, FUNDING, PRICES, read
from training.data.quality import BadDataError

FOLDER = Path(os.environ.get("MARINA_RECORDED_DATA", "")) / "market"
START = pd.Timestamp("2024-01-01", tz="UTC")


def candles(hours: int = 300, assets: tuple[str, ...] = ("SOL", "BTC", "ETH")) -> pd.DataFrame:
    """Return candles whose closes count the hours: 1000, 1001, …"""
    rows = []
    for asset in assets:
        close = 1000.0 + np.arange(hours)
        opened = np.concatenate([close[:1], close[:-1]])
        rows.append(
            pd.DataFrame(
                {
                    "asset": asset,
                    "date": pd.date_range(START, periods=hours, freq="h"),
                    "open": opened,
                    "high": close + 1,
                    "low": opened - 1,
                    "close": close,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


@pytest.fixture
def folder(tmp_path):
    candles().to_parquet(tmp_path / PRICES)
    days = pd.DataFrame({"date": ["2024-01-01", "2024-01-02"], "fng": [20, 70]})
    days.to_csv(tmp_path / FEAR_GREED, index=False)
    rates = pd.DataFrame(
        {
            "asset": ["BTC", "ETH", "BTC"],
            "date": ["2024-01-02 00:00:00+00:00"] * 2 + ["2024-01-02 08:00:00+00:00"],
            "funding_rate": [0.0001, 0.0003, 0.0005],
        }
    )
    rates.to_csv(tmp_path / f"{FUNDING}.gz", index=False)
    return tmp_path


def known(history, when: str) -> int:
    return int(np.flatnonzero(history.times == np.datetime64(when, "h"))[0])


def test_a_close_is_known_when_its_candle_ends(folder):
    history, faults = read(folder)
    assert history.assets == ("BTC", "ETH", "SOL") and not faults
    assert history.times[0] == np.datetime64("2024-01-01T01", "h")
    assert history.prices[known(history, "2024-01-01T01")].tolist() == [1000.0] * 3


def test_the_index_of_a_day_is_known_from_the_next_and_then_forgotten(folder):
    history, _ = read(folder)
    index = history.context[:, 0]
    assert np.isnan(index[known(history, "2024-01-01T23")])
    assert index[known(history, "2024-01-02T00")] == 20
    assert index[known(history, "2024-01-02T23")] == 20
    assert index[known(history, "2024-01-03T00")] == 70
    assert index[known(history, "2024-01-06T00")] == 70 and np.isnan(index[known(history, "2024-01-06T01")])


def test_funding_is_the_mean_of_the_latest_rates(folder):
    history, _ = read(folder)
    funding = history.context[:, 1]
    assert np.isnan(funding[known(history, "2024-01-01T23")])
    assert funding[known(history, "2024-01-02T00")] == pytest.approx(0.0002)
    assert funding[known(history, "2024-01-02T08")] == pytest.approx((0.0005 + 0.0003) / 2)
    assert funding[known(history, "2024-01-03T01")] == pytest.approx(0.0005)  # Ether's is too old
    assert np.isnan(funding[known(history, "2024-01-03T09")])


def test_prices_alone_are_enough(tmp_path):
    candles().to_parquet(tmp_path / PRICES)
    history, _ = read(tmp_path)
    assert np.isnan(history.context).all() and np.isfinite(rolling(history.prices, history.hours())[:, :14]).all()


def test_hours_without_candles_are_missing_prices(tmp_path):
    table = candles()
    table[table["date"] != START + pd.Timedelta(hours=50)].to_parquet(tmp_path / PRICES)
    history, _ = read(tmp_path)
    assert len(history) == 300 and np.isnan(history.prices).any(axis=1).nonzero()[0].tolist() == [50]


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("close", -1.0, "not positive"),
        ("close", np.inf, "infinite"),
        ("high", 1.0, "high too low"),
        ("low", 5000.0, "low too high"),
        ("date", START + pd.Timedelta(minutes=90), "not a whole hour"),
    ],
)
def test_bad_candles_are_named_and_left_out_or_refused(tmp_path, column, value, kind):
    table = candles()
    table.loc[60, column] = value
    table.to_parquet(tmp_path / PRICES)
    history, faults = read(tmp_path)
    assert {fault.index for fault in faults} == {60} and kind in {fault.kind for fault in faults}
    assert np.isnan(history.prices[60, history.assets.index("SOL")])
    with pytest.raises(BadDataError, match=r"ohlcv_1h\.parquet\[60\]"):
        read(tmp_path, "refuse")


def test_an_hour_given_twice_is_a_fault(tmp_path):
    table = candles()
    pd.concat([table, table.iloc[[5]]]).to_parquet(tmp_path / PRICES)
    _, faults = read(tmp_path)
    assert {fault.index for fault in faults} == {5, len(table)}


def test_a_market_without_ether_is_refused(tmp_path):
    candles(assets=("BTC", "SOL", "ADA")).to_parquet(tmp_path / PRICES)
    with pytest.raises(BadDataError, match="expected BTC and ETH and at least one more asset, got ADA, BTC, SOL"):
        read(tmp_path)


def test_a_folder_without_prices_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder with ohlcv_1h\.parquet"):
        read(tmp_path)


@pytest.mark.skipif(not (FOLDER / PRICES).exists(), reason="no recorded data: MARINA_RECORDED_DATA names no market")
def test_the_recorded_market_is_read_whole():
    history, faults = read(FOLDER)
    assert not faults and history.assets[:2] == ("BTC", "ETH") and len(history.assets) == 13
    assert len(history) > 40_000 and np.isnan(history.prices).all(axis=1).sum() == 20
    assert np.isfinite(history.context[:, :2]).mean() > 0.99
    assert len(history.hours(24)) > 1_700

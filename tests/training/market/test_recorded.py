import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.market.features import rolling
from training.data.quality import BadDataError
from training.data.reading.reader import TableReader
from training.market.history import History
from training.market.recorded import FEAR_GREED, FUNDING, PRICES, read

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
def folder(tmp_path: Path) -> Path:
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


def known(history: History, when: str) -> int:
    return int(np.flatnonzero(history.times == np.datetime64(when, "h"))[0])


def test_a_close_is_known_when_its_candle_ends(folder: Path) -> None:
    history, faults = read(folder)
    assert history.assets == ("BTC", "ETH", "SOL") and not faults
    assert history.times[0] == np.datetime64("2024-01-01T01", "h")
    assert history.prices[known(history, "2024-01-01T01")].tolist() == [1000.0] * 3


def test_the_index_of_a_day_is_known_from_the_next_and_then_forgotten(folder: Path) -> None:
    history, _ = read(folder)
    index = history.context[:, 0]
    assert np.isnan(index[known(history, "2024-01-01T23")])
    assert index[known(history, "2024-01-02T00")] == 20
    assert index[known(history, "2024-01-02T23")] == 20
    assert index[known(history, "2024-01-03T00")] == 70
    assert index[known(history, "2024-01-06T00")] == 70 and np.isnan(index[known(history, "2024-01-06T01")])


def test_funding_is_the_mean_of_the_latest_rates(folder: Path) -> None:
    history, _ = read(folder)
    funding = history.context[:, 1]
    assert np.isnan(funding[known(history, "2024-01-01T23")])
    assert funding[known(history, "2024-01-02T00")] == pytest.approx(0.0002)
    assert funding[known(history, "2024-01-02T08")] == pytest.approx((0.0005 + 0.0003) / 2)
    assert funding[known(history, "2024-01-03T01")] == pytest.approx(0.0005)  # Ether's is too old
    assert np.isnan(funding[known(history, "2024-01-03T09")])


def test_prices_alone_are_enough(tmp_path: Path) -> None:
    candles().to_parquet(tmp_path / PRICES)
    history, _ = read(tmp_path)
    assert np.isnan(history.context).all() and np.isfinite(rolling(history.prices, history.hours())[:, :14]).all()


def test_hours_without_candles_are_missing_prices(tmp_path: Path) -> None:
    table = candles()
    table[table["date"] != START + pd.Timedelta(hours=50)].to_parquet(tmp_path / PRICES)
    history, _ = read(tmp_path)
    assert len(history) == 300 and np.flatnonzero(np.isnan(history.prices).any(axis=1)).tolist() == [50]


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("close", -1.0, "not positive"),
        ("close", np.inf, "infinite"),
        ("high", 1.0, "high too low"),
        ("low", 5000.0, "low too high"),
        ("date", START + pd.Timedelta(minutes=90), "not a whole hour"),
        ("date", pd.Timestamp("2199-01-01", tz="UTC"), "in the future"),
    ],
)
def test_bad_candles_are_named_and_left_out_or_refused(tmp_path: Path, column: str, value: Any, kind: str) -> None:
    table = candles()
    table.loc[60, column] = value
    table.to_parquet(tmp_path / PRICES)
    history, faults = read(tmp_path)
    assert {fault.index for fault in faults} == {60} and kind in {fault.kind for fault in faults}
    assert np.isnan(history.prices[60, history.assets.index("SOL")])
    with pytest.raises(BadDataError, match=r"ohlcv_1h\.parquet\[60\]"):
        read(tmp_path, "refuse")


def test_funding_in_per_cent_and_an_index_beyond_its_scale_are_faults(folder: Path) -> None:
    rates = pd.read_csv(folder / f"{FUNDING}.gz")
    rates.loc[2, "funding_rate"] = 0.01
    rates.to_csv(folder / f"{FUNDING}.gz", index=False)
    days = pd.DataFrame({"date": ["2024-01-01", "2024-01-02"], "fng": [20, 170]})
    days.to_csv(folder / FEAR_GREED, index=False)
    history, faults = read(folder)
    assert {(fault.file, fault.index) for fault in faults} == {(f"{FUNDING}.gz", 2), (FEAR_GREED, 1)}
    assert history.context[known(history, "2024-01-02T08"), 1] == pytest.approx(0.0002)
    assert history.context[known(history, "2024-01-03T00"), 0] == 20


def test_equal_rows_of_one_hour_are_one_and_it_is_described(tmp_path: Path) -> None:
    table = candles()
    pd.concat([table, table.iloc[[5, 7, 7]]]).to_parquet(tmp_path / PRICES)
    reader = TableReader()
    history, faults = read(tmp_path, "refuse", reader)
    assert not faults and np.isfinite(history.prices).all()
    assert "3 rows that repeat another one exactly; one of each is kept" in str(reader.accounts[0])


def test_unequal_rows_of_one_hour_are_refused_and_no_other_hour_is(tmp_path: Path) -> None:
    table = candles()
    other = table.iloc[[5]].assign(close=1004.5, high=1006.0)
    pd.concat([table, other, table.iloc[[5]]]).to_parquet(tmp_path / PRICES)
    history, faults = read(tmp_path)
    assert {fault.index for fault in faults} == {5, len(table), len(table) + 1}
    assert "unequal rows of one hour" in str(faults[0]) and "SOL 2024-01-01 05:00:00+00:00" in str(faults[0])
    assert np.argwhere(np.isnan(history.prices)).tolist() == [[5, history.assets.index("SOL")]]
    with pytest.raises(BadDataError, match="unequal rows of one hour"):
        read(tmp_path, "refuse")


@pytest.mark.parametrize("style", ["epoch", "zones", "decimal comma"])
def test_two_downloads_that_overlap_are_one_history_whatever_their_style(tmp_path: Path, style: str) -> None:
    table = candles().sort_values(["date", "asset"], kind="stable")
    older = table[table["date"] < START + pd.Timedelta(hours=200)]
    newer = table[table["date"] >= START + pd.Timedelta(hours=100)]
    older.to_csv(tmp_path / "ohlcv_1h_2023.csv", index=False)
    newer = newer.rename(columns={"asset": "Symbol", "date": "Open time", "close": "Close Price"})
    if style == "epoch":
        milliseconds = (newer["Open time"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(1, "ms")
        newer.assign(**{"Open time": milliseconds}).to_csv(tmp_path / "ohlcv_1h_2024.csv.gz", index=False)
    elif style == "zones":
        zoned = newer["Open time"].dt.tz_convert("Asia/Kolkata").dt.tz_convert("Etc/GMT-3")
        newer.assign(**{"Open time": zoned}).to_csv(tmp_path / "ohlcv_1h_2024.tsv", sep="\t", index=False)
    else:
        path = tmp_path / "ohlcv_1h_2024.txt"
        newer.to_csv(path, sep=";", decimal=",", index=False, encoding="utf-16", float_format="%.2f")
    reader = TableReader()
    history, faults = read(tmp_path, "refuse", reader)
    candles().to_parquet(tmp_path / PRICES)
    for file in tmp_path.glob("ohlcv_1h_*"):
        file.unlink()
    assert not faults and "300 rows that repeat" in "".join(map(str, reader.accounts))
    whole = read(tmp_path)[0]
    assert (history.times == whole.times).all() and (history.prices == whole.prices).all()


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M", "%Y%m%d%H%M%S", "%d.%m.%Y %H:%M:%S"])
def test_a_file_of_candles_alone_is_a_market_with_its_dates_in_any_form(tmp_path: Path, form: str) -> None:
    table = candles(hours=400)
    prices = table[["open", "high", "low", "close"]].map("{:.1f}".format)
    written = table.assign(date=table["date"].dt.strftime(form), **prices)
    written.to_csv(tmp_path / "binance.csv", index=False)
    history, faults = read(tmp_path / "binance.csv")
    assert not faults and len(history) == 400 and history.prices[399].tolist() == [1399.0] * 3
    assert history.times[0] == np.datetime64("2024-01-01T01", "h")


def test_a_market_without_ether_is_refused(tmp_path: Path) -> None:
    candles(assets=("BTC", "SOL", "ADA")).to_parquet(tmp_path / PRICES)
    with pytest.raises(BadDataError, match="expected BTC and ETH and at least one more asset, got ADA, BTC, SOL"):
        read(tmp_path)


def test_a_folder_without_prices_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a folder with ohlcv_1h\.parquet"):
        read(tmp_path)


@pytest.mark.skipif(not (FOLDER / PRICES).exists(), reason="no recorded data: MARINA_RECORDED_DATA names no market")
def test_the_recorded_market_is_read_whole() -> None:
    history, faults = read(FOLDER)
    assert not faults and history.assets[:2] == ("BTC", "ETH") and len(history.assets) == 13
    assert len(history) > 40_000 and np.isnan(history.prices).all(axis=1).sum() == 20
    assert np.isfinite(history.context[:, :2]).mean() > 0.99
    assert len(history.hours(24)) > 1_700

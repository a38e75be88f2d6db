"""scripts/features.py and --to-store of scripts/extract_code_features.py, by what they print and keep."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from marina.features.store import open_store
from marina.settings import read_settings
from models.code_health.features import NAMES
from models.market import features as market
from scripts import extract_code_features, features
from tests.training.code_health.tiny_repository import Tiny


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))


def test_a_repository_is_extracted_to_the_store_and_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    tiny.commit(20, {"a.py": "a = 2\n"}, "Fix a")
    command = [str(tiny.folder), "--cache", str(tmp_path / "cache.sqlite"), "--to-store", "--project", "my-id"]
    assert extract_code_features.main(command) == 0
    assert "3 rows in the feature store, 3 of them new" in " ".join(capsys.readouterr().err.split())
    assert features.main(["get", "code_health", "my-id", "my-id:a.py", "another", "--groups", "code"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["my-id"]["files"] == {"value": 2.0, "state": "fresh"}
    assert found["my-id:a.py"]["files"]["value"] == 1 and found["another"]["files"]["state"] == "missing"
    assert len(found["my-id"]) < len(NAMES)


def test_windows_of_a_market_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hours = pd.date_range("2026-01-01", periods=200, freq="h", tz="UTC")
    prices = {name: 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, 200).cumsum())
              for seed, name in enumerate(("BTC", "ETH", "SOL"))}  # fmt: skip
    rows = [
        {"asset": name, "date": hour, "open": close, "high": close, "low": close, "close": close}
        for name, closes in prices.items()
        for hour, close in zip(hours, closes, strict=True)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "ohlcv_1h.parquet")
    for said in ("24 vectors, 24 of them new", "24 vectors, 0 of them new"):
        assert features.main(["market", str(tmp_path / "ohlcv_1h.parquet"), "--last", "24"]) == 0
        assert said in capsys.readouterr().out
    store = open_store(read_settings())
    at = [(hours[-1] + pd.Timedelta(hours=1)).timestamp()]
    joined = store.get_historical_features("market_window", ["main"], at, as_known_at=2e9)
    closes = np.column_stack(list(prices.values()))[None, -168:]
    np.testing.assert_allclose(joined.values, market.features(closes), rtol=1e-5, atol=1e-5)


def test_households_are_written_and_history_is_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounts = tmp_path / "accounts.csv"
    lines = [f"{user},2026-0{month}-03,-{month}00,rent" for user in ("u1", "u2") for month in range(1, 6)]
    accounts.write_text("user,date,amount,merchant\n" + "\n".join(lines) + "\n")
    assert features.main(["households", str(accounts)]) == 0
    assert "2 vectors, 2 of them new" in capsys.readouterr().out
    asked = tmp_path / "asked.csv"
    asked.write_text("entity,time\nu1,2026-05-10\nu1,2026-05-01\n")
    out = tmp_path / "rows.csv"
    assert features.main(["history", "household", str(asked), "--out", str(out)]) == 0
    assert "2 have no features" in capsys.readouterr().out  # in May no one knew
    assert features.main(["history", "household", str(asked), "--out", str(out), "--as-known-at", "2100-01-01"]) == 0
    assert pd.read_csv(out)["spent_monthly"].tolist()[0] == 250


def test_parity_views_and_refill_say_what_they_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert features.main(["parity"]) == 0 and features.main(["views"]) == 0 and features.main(["refill"]) == 0
    out = capsys.readouterr().out
    assert "household: 0 served vectors compared" in out and "code_health of a repository" in out
    assert features.main(["get", "houses", "a"]) == 1
    assert "there are code_health" in capsys.readouterr().err

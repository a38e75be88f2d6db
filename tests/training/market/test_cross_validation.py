import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.market.alerts import LABELS
from scripts.cross_validate import main
from training.market.baseline_tasks import plain_tasks
from training.market.cross_validation import cross_validate, on_fewer_assets
from training.market.ensembles import AlertEnsembles
from training.market.metrics import scores
from training.market.onsets import count_alerts, score_onsets
from training.market.recorded import PRICES, read
from training.market.synthetic import Synthesis, generate

FOLDER = Path(os.environ.get("MARINA_RECORDED_DATA", "")) / "market"


def test_the_questions_are_scored_on_later_hours_beside_a_logistic_regression() -> None:
    history = generate(Synthesis(hours=3000, assets=4))
    walked, table, areas = cross_validate(history, 8, 3, Console(quiet=True), AlertEnsembles(trees=5, rounds=5))
    found = scores(walked, table.outcomes)
    assert [one.label for one in found] == list(LABELS)
    assert np.nanmean([one.auc for one in found]) > 0.65 and np.nanmean(areas) > 0.65
    assert all(0 <= one.persistence_f1 <= 1 and one.always_f1 > 0 for one in found)


def test_fewer_assets_can_be_asked_about_than_were_learned_from() -> None:
    history = generate(Synthesis(hours=3000, assets=6))
    found = on_fewer_assets(history, 8, AlertEnsembles(trees=5, rounds=5))
    assert [one.assets for one in found] == [6, 5, 3]
    assert min(one.auc for one in found) > 0.6


def test_plain_tasks_find_the_volatility_that_was_put_in_and_no_direction() -> None:
    history = generate(Synthesis(hours=8000, assets=4))
    found = {(one.task.split()[0], one.predicted_from): np.mean(one.values) for one in plain_tasks(history, 2, 4)}
    for (task, predicted_from), value in found.items():
        if task == "Bitcoin":
            assert 0.4 < value < 0.6, predicted_from
    assert found["ln", "the asset's own volatility of 4, 24, 167 h"] > 0.15


def test_a_recorded_market_is_evaluated_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.market.cross_validation.AlertEnsembles", lambda: AlertEnsembles(trees=3, rounds=3))
    history = generate(Synthesis(hours=2400, assets=3))
    tables = [
        pd.DataFrame(
            {
                "asset": name,
                "date": pd.to_datetime(history.times, utc=True) - pd.Timedelta(hours=1),
                **dict.fromkeys(("open", "high", "low", "close"), history.prices[:, k]),
            }
        ).dropna()
        for k, name in enumerate(history.assets)
    ]
    pd.concat(tables, ignore_index=True).to_parquet(tmp_path / PRICES)
    assert main(["market", "--data", str(tmp_path), "--folds", "2", "--stride", "12"]) == 0
    told = capsys.readouterr().out
    assert "| SPIKE_LIKELY | 4h |" in told and "logistic regression on the same features" in told
    assert "| Bitcoin rises in the next hour | the 18 features | AUC |" in told
    assert main(["market", "--data", str(tmp_path / "nowhere")]) == 1


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER / PRICES).exists(), reason="no recorded data: MARINA_RECORDED_DATA names no market")
def test_on_recorded_prices_alerts_beat_base_rates_and_persistence() -> None:
    history, _ = read(FOLDER)
    walked, table, _ = cross_validate(history, 24, 3, Console(quiet=True), AlertEnsembles(trees=30, rounds=50))
    found = scores(walked, table.outcomes)
    assert np.mean([one.auc for one in found]) > 0.75
    assert np.mean([one.skill for one in found]) > 0.2
    assert np.mean([one.f1 - one.persistence_f1 for one in found]) > 0.05
    begun = score_onsets(walked, table)
    assert all(one.precision > 1.5 * one.rate for one in begun)
    assert np.mean([one.foretold for one in begun]) > 0.4
    assert max(one.mean for one in count_alerts(walked)[:-1]) < 4

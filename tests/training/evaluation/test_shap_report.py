from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from training import tracking
from training.evaluation.shap_report import explain

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 3)).astype(np.float32)
NAMES = ("noise", "up", "down")


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(20, random_state=0).fit(ROWS, ROWS[:, 1] - 0.5 * ROWS[:, 2] > 0),
        LinearRegression().fit(ROWS, ROWS[:, 1] - 0.5 * ROWS[:, 2]),
    ],
    ids=["trees by their paths", "anything by permutation"],
)
def test_what_a_model_goes_by_is_named_in_order_with_its_direction(estimator: Any, tmp_path: Path) -> None:
    with tracking.run("explained", tmp_path, {}) as run:
        found = explain(run, estimator, ROWS[:40], NAMES)
    assert [one.name for one in found] == ["up", "down", "noise"]
    assert found[0].direction > 0.7 and found[1].direction < -0.7
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert {one.path for one in client.list_artifacts(run.id)} == {"features.tsv", "shap.png"}

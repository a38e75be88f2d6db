from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from training import tracking
from training.data.splits import folds
from training.search import Candidate, search

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 4))
TARGET = ((ROWS[:, 0] > 0) ^ (ROWS[:, 1] > 0)).astype(int)  # no line divides it
FOLDS = folds(np.repeat(np.arange(30), 10).astype(str), 3)
TREE = Candidate(
    "tree",
    lambda trial: DecisionTreeClassifier(max_depth=trial.suggest_int("depth", 1, 6), random_state=0),
    {"depth": 1},
)
LINE = Candidate("line", lambda trial: LogisticRegression(C=trial.suggest_float("c", 1e-3, 10, log=True)))


def accuracy(fitted: Any, rows: npt.NDArray[np.float64], target: npt.NDArray[Any]) -> float:
    return float(fitted.score(rows, target))


def test_the_better_candidate_wins_and_its_search_helps() -> None:
    found = search([LINE, TREE], ROWS, TARGET, FOLDS, accuracy, trials=12)
    assert found.best.name == "tree" and found.best.score > 0.8
    assert found.estimator.max_depth == found.best.params["depth"] > 1
    assert len(found.trials) == 12
    assert [trial.params["depth"] for trial in found.trials if trial.name == "tree"].count(1) >= 1  # the default
    assert "| tree |" in found.markdown() and "| line |" in found.markdown()


def test_equal_seeds_choose_equally() -> None:
    first, second = (search([LINE, TREE], ROWS, TARGET, FOLDS, accuracy, trials=8, seed=3) for _ in range(2))
    assert [(t.name, t.params, t.score) for t in first.trials] == [(t.name, t.params, t.score) for t in second.trials]


def test_without_time_each_candidate_still_shows_what_it_can() -> None:
    found = search([LINE, TREE], ROWS, TARGET, FOLDS, accuracy, trials=50, budget_s=0)
    assert sorted(trial.name for trial in found.trials) == ["line", "tree"]


def test_every_trial_is_a_run_below_the_training(tmp_path: Path) -> None:
    with tracking.run("tried", tmp_path, {}) as run:
        search([LINE, TREE], ROWS, TARGET, FOLDS, accuracy, trials=3, run=run)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    below = client.search_runs([run.experiment], f"tags.`mlflow.parentRunId` = '{run.id}'")
    assert len(below) == 3
    assert all("score" in one.data.metrics and one.data.params["estimator"] for one in below)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one candidate"):
        search([], ROWS, TARGET, FOLDS, accuracy, trials=1)

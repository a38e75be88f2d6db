import argparse
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.classification import evaluate
from training.signflow.experiments import architectures
from training.signflow.experiments.harness import Arm, Outcome, load, recipe, trained
from training.signflow.fit import probabilities
from training.signflow.synthetic.signing import Synthesis


def test_networks_that_answer_together_answer_by_the_mean_of_their_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "TOGETHER", (("features", "small"), ("small", "large")))
    data = load("synthetic", Synthesis(signs=3, signers=4, takes=2))
    arguments = argparse.Namespace(shown=1, out=tmp_path, sizes=["small", "features"])
    alone, other, together = (arm.run(0) for arm in architectures.arms(arguments, data))
    train, test = data.unseen(0)
    answers = [
        probabilities(trained(data, 0, recipe(data, train, 0, 1, size), tmp_path / "weights"), test.sequences)
        for size in ("features", "small")
    ]
    expected = evaluate((answers[0] + answers[1]) / 2, test.labels, test.signs).metrics
    assert together["calibration_error"] == pytest.approx(expected["calibration_error"])
    assert together["accuracy"] == expected["accuracy"]
    assert together["processor_s"] == pytest.approx(alone["processor_s"] + other["processor_s"])
    assert not np.array_equal(answers[0], answers[1])


def test_a_fold_that_lacks_an_arm_is_drawn_without_it() -> None:
    arms = [Arm(name, lambda seed: {}) for name in ("features", "large")]
    outcomes = [
        Outcome(name, seed, {"accuracy": 0.7}) for name, seed in (("features", 0), ("large", 0), ("features", 1))
    ]
    (axes,) = architectures.figure(arms, outcomes, "on a set").axes
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[0, 1], [0]]

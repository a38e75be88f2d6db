import argparse

import numpy as np
import pytest

from training.data.signflow_synthetic import Synthesis
from training.evaluate import evaluate
from training.experiment import Arm, Outcome, load, recipe, trained
from training.experiments import architectures
from training.signflow_fit import probabilities


def test_networks_that_answer_together_answer_by_the_mean_of_their_probabilities(tmp_path, monkeypatch):
    monkeypatch.setattr(architectures, "TOGETHER", (("baseline", "small"), ("small", "large")))
    data = load("synthetic", Synthesis(signs=3, signers=4, takes=2))
    arguments = argparse.Namespace(shown=1, out=tmp_path, sizes=["small", "baseline"])
    alone, other, together = (arm.run(0) for arm in architectures.arms(arguments, data))
    train, test = data.unseen(0)
    answers = [
        probabilities(trained(data, 0, recipe(data, train, 0, 1, size), tmp_path / "weights"), test.sequences)
        for size in ("baseline", "small")
    ]
    expected = evaluate((answers[0] + answers[1]) / 2, test.labels, test.signs).metrics
    assert together["calibration_error"] == pytest.approx(expected["calibration_error"])
    assert together["accuracy"] == expected["accuracy"]
    assert together["processor_s"] == pytest.approx(alone["processor_s"] + other["processor_s"])
    assert not np.array_equal(*answers)


def test_a_fold_that_lacks_an_arm_is_drawn_without_it():
    arms = [Arm(name, dict) for name in ("baseline", "large")]
    outcomes = [
        Outcome(name, seed, {"accuracy": 0.7}) for name, seed in (("baseline", 0), ("large", 0), ("baseline", 1))
    ]
    (axes,) = architectures.figure(arms, outcomes, "on a set").axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 1], [0]]

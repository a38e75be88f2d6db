import argparse

import numpy as np
import pytest

from training.data.signflow_synthetic import Synthesis
from training.evaluate import evaluate
from training.experiment import load, recipe, trained
from training.experiments import architectures
from training.signflow_fit import probabilities


def test_networks_that_answer_together_answer_by_the_mean_of_their_probabilities(tmp_path, monkeypatch):
    monkeypatch.setattr(architectures, "ARMS", (("baseline",), ("small",), ("baseline", "small")))
    data = load("synthetic", Synthesis(signs=3, signers=4, takes=2))
    arguments = argparse.Namespace(shown=1, out=tmp_path)
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

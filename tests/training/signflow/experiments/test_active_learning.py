import argparse
import math
from pathlib import Path

import numpy as np
import pytest

from training.signflow.experiments.active_learning import add_arguments, area, arms, figure, only, saved
from training.signflow.experiments.harness import Outcome, load
from training.signflow.fit import Recipe
from training.signflow.synthetic.signing import Synthesis

SHARES = np.array([0.1, 0.2, 0.3, 0.4])
PLAIN = np.array([0.2, 0.4, 0.6, 0.8])


def test_area_is_the_mean_over_the_shares() -> None:
    assert area(SHARES, PLAIN) == pytest.approx(0.5)


def test_half_the_labels_for_equal_accuracy_is_half_of_them_saved() -> None:
    steep = np.array([0.4, 0.8, 0.9, 0.9])  # at each share what the plain curve has at twice the share
    assert saved(SHARES, steep, PLAIN) == pytest.approx(0.5)
    assert saved(SHARES, PLAIN, steep) == pytest.approx(-1.0)
    assert saved(SHARES, PLAIN, PLAIN) == 0


def test_a_round_that_lost_accuracy_had_reached_it_before() -> None:
    assert saved(SHARES, np.array([0.2, 0.4, 0.3, 0.8]), PLAIN) < 0
    assert saved(SHARES, np.array([0.2, 0.8, 0.3, 0.1]), PLAIN) > 0


def test_nothing_is_said_of_curves_that_share_no_accuracy() -> None:
    assert math.isnan(saved(SHARES, np.full(4, 0.2), PLAIN))


def test_only_labelled_clips_are_shown_each_as_often_and_as_many_as_ever() -> None:
    data = load("synthetic", Synthesis(signs=2, signers=4, takes=5))
    shown = only(np.array([3, 30, 8]))(data.clips, Recipe(), 0, np.random.default_rng(0))
    assert len(shown) == len(data.clips)
    assert np.bincount(shown)[[3, 8, 30]].tolist() in ([14, 13, 13], [13, 14, 13], [13, 13, 14])


def test_strategies_begin_alike_and_end_with_the_same_number_of_labels(tmp_path: Path) -> None:
    data = load("synthetic", Synthesis(signs=2, signers=4, takes=2))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["--shown", "1", "--step", "0.3", "--rounds", "1"])
    arguments.out = tmp_path
    outcomes = [Outcome(arm.name, 0, arm.run(0)) for arm in arms(arguments, data)]
    assert {one.metrics["accuracy_30%"] for one in outcomes} == {outcomes[0].metrics["accuracy_30%"]}
    assert list(outcomes[0].metrics) == [
        "area", "area_f1", "labels_saved", "accuracy_30%", "accuracy_60%", "accuracy_100%",
    ]  # fmt: skip
    assert len(figure(arms(arguments, data), outcomes, "title").axes[0].lines) == 9

import argparse

import pytest

from training.data.signflow_synthetic import Synthesis, generate
from training.experiment import Data
from training.experiments import tta


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    data = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=2)))
    arguments = argparse.Namespace(shown=50, size="small", out=tmp_path_factory.mktemp("out"))
    return {arm.name: arm.run(0) for arm in tta.arms(arguments, data)}


def test_every_view_is_measured_alone_and_all_together(outcomes):
    assert list(outcomes) == ["identity", "mirror", "slower", "faster", "noise", "mean of all five"]
    assert all(0 <= one["accuracy"] <= 1 for one in outcomes.values())


def test_only_the_identity_changes_nothing(outcomes):
    assert outcomes["identity"]["changed"] == 0
    assert outcomes["slower"]["changed"] > 0
    assert outcomes["mean of all five"]["changed"] > 0

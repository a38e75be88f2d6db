import argparse
from collections.abc import Mapping

import pytest

from training.signflow.experiments import tta
from training.signflow.experiments.harness import Data
from training.signflow.synthetic.signing import Synthesis, generate


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mapping[str, float]]:
    data = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=2)))
    arguments = argparse.Namespace(shown=50, size="small", out=tmp_path_factory.mktemp("out"))
    return {arm.name: arm.run(0) for arm in tta.arms(arguments, data)}


def test_every_view_is_measured_alone_and_all_together(outcomes: dict[str, Mapping[str, float]]) -> None:
    assert list(outcomes) == ["identity", "mirror", "slower", "faster", "noise", "mean of all five"]
    assert all(0 <= one["accuracy"] <= 1 for one in outcomes.values())


def test_only_the_identity_changes_nothing(outcomes: dict[str, Mapping[str, float]]) -> None:
    assert outcomes["identity"]["changed"] == 0
    assert outcomes["slower"]["changed"] > 0
    assert outcomes["mean of all five"]["changed"] > 0

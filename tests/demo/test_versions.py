from dataclasses import replace
from pathlib import Path

import pytest

from demo import versions
from training.catalog.recipe import MODEL, TrainOptions, train
from training.catalog.synthetic.listings import generate


def test_users_ask_about_products_that_no_version_was_trained_on() -> None:
    assert len(versions.asked()) > 0.9 * versions.ASKED
    learnt = generate(replace(versions.EASY, products=versions.TRAINED_ON))
    seen = set(zip(learnt["designation"], learnt["description"], strict=True))
    asked = {(one.instance["designation"], one.instance["description"] or "") for one in versions.asked()}
    assert len(seen & asked) < 0.001 * len(asked), "but for short titles that two products happen to share"


@pytest.mark.slow
def test_the_worse_version_is_four_points_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    right = {
        version.number: versions.accuracy(
            train(TrainOptions(home=tmp_path, synthesis=version.synthesis, trials=1))[MODEL]
        )
        for version in versions.VERSIONS[:3]
    }
    assert right["1.0"] < right["2.0"]
    assert right["2.0"] - right["3.0"] == pytest.approx(0.04, abs=0.006)

from dataclasses import replace

import pytest

from training import demo
from training.catalog import MODEL, TrainOptions, train
from training.data.catalog_synthetic import generate


def test_users_ask_about_products_that_no_version_was_trained_on():
    assert len(demo.asked()) > 0.9 * demo.ASKED
    learnt = generate(replace(demo.EASY, products=demo.TRAINED_ON))
    seen = set(zip(learnt["designation"], learnt["description"], strict=True))
    asked = {(one.instance["designation"], one.instance["description"] or "") for one in demo.asked()}
    assert len(seen & asked) < 0.001 * len(asked), "but for short titles that two products happen to share"


@pytest.mark.slow
def test_the_worse_version_is_four_points_worse(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    right = {
        version.number: demo.accuracy(train(TrainOptions(home=tmp_path, synthesis=version.synthesis, trials=1))[MODEL])
        for version in demo.VERSIONS[:3]
    }
    assert right["1.0"] < right["2.0"]
    assert right["2.0"] - right["3.0"] == pytest.approx(0.04, abs=0.006)

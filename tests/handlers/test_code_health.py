import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from archives.store import unpack
from handlers import code_health
from handlers.wire import JSON
from tests.families.code_health import MODELS, good, releases, rows
from tests.handlers.context import Context
from training.archive import build
from training.code_health_fit import MEMBERS


@pytest.fixture(scope="module")
def served():
    """Every model's handler, loaded from its own archive."""
    store = Path(tempfile.mkdtemp(prefix="marina-code-"))
    found = {}
    for name, release in releases().items():
        unpack(build(release, store).path, store / name)
        handler = getattr(code_health, release.handler.partition(":")[2])()
        handler.initialize(Context(store / name))
        found[name] = (handler, store / name)
    yield found
    shutil.rmtree(store)


def ask(served, model, body, **headers):
    handler, folder = served[model]
    context = Context(folder, [{"Content-Type": JSON, **headers}])
    [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
    assert context.statuses == [200], answer
    return json.loads(answer)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "code_impact"])
def test_the_label_is_the_second_one_from_the_threshold_on(served, model):
    contract = served[model][0].contract
    predictions = ask(served, model, {"instances": [{"features": row} for row in rows(model, 200, 3).tolist()]})
    labels = set()
    for one in predictions["predictions"]:
        assert one["label"] == contract.labels[one["value"] >= one["threshold"]]
        labels.add(one["label"])
    assert labels <= set(contract.labels)
    assert one["threshold"] == contract.thresholds[contract.labels[1]]


def test_an_impact_says_how_many_lines_it_stands_for(served):
    one = ask(served, "code_impact", good("code_impact")[0])["predictions"]
    assert 0 <= one["value"] <= 1
    assert one["lines"] == pytest.approx(np.expm1(one["value"] * np.log(10_001)))


def test_the_vote_says_what_each_member_would_have_answered_alone(served):
    body = good("code_meta")[0]
    one = ask(served, "code_meta", body)["predictions"]
    assert tuple(one["members"]) == MEMBERS
    for name in MEMBERS:
        mine = {feature: body["features"][feature] for feature in served[name][0].contract.features}
        alone = ask(served, name, {"features": mine})["predictions"]["value"]
        assert one["members"][name] == pytest.approx(alone, abs=1e-5)


def test_a_missing_feature_may_be_null_or_absent(served):
    name = served["code_risk"][0].contract.features[3]
    row = good("code_risk")[0]["features"]
    absent = {key: value for key, value in row.items() if key != name}
    answers = [ask(served, "code_risk", {"features": one})["predictions"] for one in ({**row, name: None}, absent)]
    assert answers[0] == answers[1]


def test_features_go_by_their_names_whatever_their_order(served):
    row = good("code_risk")[0]["features"]
    backwards = dict(reversed(row.items()))
    answers = [ask(served, "code_risk", {"features": one})["predictions"] for one in (row, backwards)]
    assert answers[0] == answers[1]


def test_a_wrong_name_among_as_many_features_as_there_should_be_is_named(served):
    handler, folder = served["code_risk"]
    first, *others = good("code_risk")[0]["features"].items()
    body = {"features": {**dict(others), "moon_phase": first[1]}}
    context = Context(folder, [{"Content-Type": JSON}])
    [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
    assert context.statuses == [422]
    assert json.loads(answer)["error"]["field"] == "features.moon_phase"


@pytest.mark.parametrize("model", MODELS)
def test_an_explanation_names_every_feature_once_the_weightiest_first(served, model):
    found = ask(served, model, good(model)[0], explain="True")["explanations"]
    assert set(found["attributions"]) == set(served[model][0].contract.features)
    weights = [abs(value) for value in found["attributions"].values()]
    assert weights == sorted(weights, reverse=True)


def test_an_attribution_is_what_the_value_loses_without_the_feature(served):
    handler, _ = served["code_bugs"]
    row = rows("code_bugs", 1, 5)[0]
    found = handler.explain(row)["attributions"]
    place = handler.contract.features.index("lines_added")
    hidden = row.copy()
    hidden[place] = handler._usual[place]
    both = handler.answered(handler.engine.run({"features": np.stack([row, hidden])}))
    assert found["lines_added"] == pytest.approx(float(both[0] - both[1]), abs=1e-6)

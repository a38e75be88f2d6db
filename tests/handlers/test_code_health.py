import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.store import unpack
from handlers import code_health
from handlers.calls import MOST_WARNINGS
from handlers.decoding import JSON
from tests.families.code_health import MODELS, good, releases, rows
from tests.handlers.context import Context
from training.code_health.fit import MEMBERS
from training.packaging.archive import build

Served = dict[str, tuple[Any, Path]]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
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


def ask(served: Served, model: str, body: object, **headers: str) -> Any:
    handler, folder = served[model]
    context = Context(folder, [{"Content-Type": JSON, **headers}])
    [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
    assert context.statuses == [200], answer
    return json.loads(answer)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "code_impact"])
def test_the_label_is_the_second_one_from_the_threshold_on(served: Served, model: str) -> None:
    contract = served[model][0].contract
    predictions = ask(served, model, {"instances": [{"features": row} for row in rows(model, 200, 3).tolist()]})
    labels = set()
    for one in predictions["predictions"]:
        assert one["label"] == contract.labels[one["value"] >= one["threshold"]]
        labels.add(one["label"])
    assert labels <= set(contract.labels)
    assert one["threshold"] == contract.thresholds[contract.labels[1]]


def test_an_impact_says_how_many_lines_it_stands_for(served: Served) -> None:
    one = ask(served, "code_impact", good("code_impact")[0])["predictions"]
    assert 0 <= one["value"] <= 1
    assert one["lines"] == pytest.approx(np.expm1(one["value"] * np.log(10_001)))


def test_the_vote_says_what_each_member_would_have_answered_alone(served: Served) -> None:
    body = good("code_meta")[0]
    one = ask(served, "code_meta", body)["predictions"]
    assert tuple(one["members"]) == MEMBERS
    for name in MEMBERS:
        mine = {feature: body["features"][feature] for feature in served[name][0].contract.features}
        alone = ask(served, name, {"features": mine})["predictions"]["value"]
        assert one["members"][name] == pytest.approx(alone, abs=1e-5)


def test_a_missing_feature_may_be_null_or_absent(served: Served) -> None:
    name = served["code_risk"][0].contract.features[3]
    row = good("code_risk")[0]["features"]
    absent = {key: value for key, value in row.items() if key != name}
    answers = [ask(served, "code_risk", {"features": one})["predictions"] for one in ({**row, name: None}, absent)]
    assert answers[0] == answers[1]


def test_features_go_by_their_names_whatever_their_order(served: Served) -> None:
    row = good("code_risk")[0]["features"]
    backwards = dict(reversed(row.items()))
    answers = [ask(served, "code_risk", {"features": one})["predictions"] for one in (row, backwards)]
    assert answers[0] == answers[1]


def test_a_wrong_name_among_as_many_features_as_there_should_be_is_named(served: Served) -> None:
    handler, folder = served["code_risk"]
    first, *others = good("code_risk")[0]["features"].items()
    body = {"features": {**dict(others), "moon_phase": first[1]}}
    context = Context(folder, [{"Content-Type": JSON}])
    [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
    assert context.statuses == [422]
    assert json.loads(answer)["error"]["field"] == "features.moon_phase"


@pytest.mark.parametrize("model", MODELS)
def test_an_explanation_names_every_feature_once_the_weightiest_first(served: Served, model: str) -> None:
    found = ask(served, model, good(model)[0], explain="True")["explanations"]
    assert set(found["attributions"]) == set(served[model][0].contract.features)
    weights = [abs(value) for value in found["attributions"].values()]
    assert weights == sorted(weights, reverse=True)


def test_an_attribution_is_what_the_value_loses_without_the_feature(served: Served) -> None:
    handler, _ = served["code_bugs"]
    row = rows("code_bugs", 1, 5)[0]
    found = handler.explain(row)["attributions"]
    place = handler.contract.features.index("lines_added")
    hidden = row.copy()
    hidden[place] = handler._usual[place]
    both = handler.answered(handler.engine.run({"features": np.stack([row, hidden])}))
    assert found["lines_added"] == pytest.approx(float(both[0] - both[1]), abs=1e-6)


def refused(served: Served, model: str, body: object) -> dict[str, Any]:
    handler, folder = served[model]
    context = Context(folder, [{"Content-Type": JSON}])
    [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
    assert context.statuses == [422], answer
    found: dict[str, Any] = json.loads(answer)["error"]
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("missing", ["empty", "null", "list", "over half"])
def test_a_row_of_nothing_is_refused_with_how_many_features_it_takes(served: Served, model: str, missing: str) -> None:
    names = served[model][0].contract.features
    row = {
        "empty": {},
        "null": dict.fromkeys(names),
        "list": [None] * len(names),
        "over half": dict.fromkeys(names[: (len(names) - 1) // 2], 0.5),
    }[missing]
    error = refused(served, model, {"instances": [{"features": rows(model, 1)[0].tolist()}, {"features": row}]})
    assert error["field"] == "instances[1].features"
    least = len(names) - len(names) // 2
    assert error["expected"].startswith(f"a number for at least {least} of the {len(names)} features")
    assert names[-1] in error["received"] or "…" in error["received"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (37, "send 0.37 for 37 %"),
        (100, "send 1 for 100 %"),
        (-0.1, "a share from 0 to 1"),
        (250, "a share from 0 to 1"),
    ],
)
def test_a_share_is_no_percentage(served: Served, value: float, expected: str) -> None:
    row = good("code_risk")[0]["features"]
    error = refused(served, "code_risk", {"features": {**row, "test_coverage": value}})
    assert error["field"] == "features.test_coverage" and expected in error["expected"]
    assert ask(served, "code_risk", {"features": {**row, "test_coverage": 1.00000001}})["predictions"]  # in rounding


@pytest.mark.parametrize("name", ["lines_added", "contributors", "age"])
def test_a_count_below_zero_is_refused_and_what_may_be_negative_is_not(served: Served, name: str) -> None:
    row = good("code_meta")[0]["features"]
    error = refused(served, "code_meta", {"features": {**row, name: -3}})
    assert (error["field"], error["expected"]) == (f"features.{name}", "a number of at least 0")
    ask(served, "code_meta", {"features": {**row, "growth": -0.5, "acceleration": -2}})


def test_what_was_rare_in_training_is_answered_with_a_warning_that_names_it(served: Served) -> None:
    contract = served["code_bugs"][0].contract
    usual = {name: float(np.clip(1.0, *contract.usual.get(name, (0.0, 1.0)))) for name in contract.features}
    assert "warnings" not in ask(served, "code_bugs", {"features": usual})
    said = ask(served, "code_bugs", {"features": {**usual, "lines_added": 5.2e8}})
    [warning] = said["warnings"]
    assert warning["field"] == "features.lines_added" and "5.2e+08 is unusual" in warning["message"]
    many = {"instances": [{"features": usual}, {"features": {**usual, "lines_added": 5.2e8}}]}
    assert [one["field"] for one in ask(served, "code_bugs", many)["warnings"]] == ["instances[1].features.lines_added"]


def test_a_few_missing_features_are_a_warning(served: Served) -> None:
    contract = served["code_bugs"][0].contract
    usual = {name: float(np.clip(1.0, *contract.usual.get(name, (0.0, 1.0)))) for name in contract.features}
    few = {name: value for place, (name, value) in enumerate(usual.items()) if place % 5}
    [warning] = ask(served, "code_bugs", {"features": few})["warnings"]
    assert warning["field"] == "features" and "5 of 22 features are missing (" in warning["message"]


def test_warnings_are_bounded(served: Served) -> None:
    row = [0.5] * len(served["code_bugs"][0].contract.features)
    row[served["code_bugs"][0].contract.features.index("lines_added")] = 1e9
    warnings = ask(served, "code_bugs", {"instances": [{"features": row}] * 4000})["warnings"]
    assert len(warnings) == MOST_WARNINGS + 1
    assert "further warnings" in warnings[-1]["message"]

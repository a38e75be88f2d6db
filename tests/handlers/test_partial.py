"""Requests of many instances of which some are bad: refused by the first of them, or answered for the others."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from handlers.decoding import NPY
from handlers.errors import InternalError
from tests.bad_requests import npy
from tests.families.code_health import rows
from tests.handlers.every import MODELS, Whole, as_json, ask, ask_whole, close, family, loaded

BAD: tuple[Any, ...] = (None, [], {}, {"surprise": 1})


def mixed(model: str) -> tuple[list[Any], list[int]]:
    """Return good instances with bad ones between, and the places of the bad ones."""
    good = family(model).good(model)
    wrong = {name: value for name, value in good[0].items()}
    wrong[next(iter(wrong))] = True
    instances = [good[0], *BAD, good[1], wrong, good[2]]
    return instances, [1, 2, 3, 4, 6]


@pytest.mark.parametrize("how", ["field", "header"])
@pytest.mark.parametrize("model", MODELS)
def test_the_good_instances_are_answered_as_alone_and_each_bad_one_is_named(model: str, how: str) -> None:
    instances, places = mixed(model)
    body: dict[str, Any] = {"instances": instances}
    sent = as_json({**body, "partial": True}) if how == "field" else as_json(body, **{"X-Partial": "true"})
    [answer] = ask_whole(model, sent)
    assert answer.status == 200, answer.body
    predictions, errors = answer.body["predictions"], answer.body["errors"]
    assert len(predictions) == len(instances)
    assert [place for place, one in enumerate(predictions) if one is None] == places
    assert [error["index"] for error in errors] == places
    for error in errors:
        assert error["status"] == 422 and error["code"] == "invalid"
        assert error["field"].startswith(f"instances[{error['index']}]") and error["message"] and error["expected"]
    for place in (0, 5, 7):
        [(_, alone)] = ask(model, as_json(instances[place]))
        assert close(predictions[place], alone["predictions"])
    assert answer.headers == {"X-Refused-Instances": "5"}


@pytest.mark.parametrize("model", MODELS)
def test_without_being_asked_to_the_first_bad_one_refuses_all_by_its_place(model: str) -> None:
    instances, _ = mixed(model)
    for more in ({}, {"partial": False}, {"partial": None}):
        [(status, body)] = ask(model, as_json({"instances": instances, **more}))
        assert (status, body["error"]["field"]) == (422, "instances[1]")


@pytest.mark.parametrize("model", MODELS)
def test_with_nothing_bad_the_answer_is_the_usual_one(model: str) -> None:
    good = family(model).good(model)
    plain, partial = (ask_whole(model, as_json({"instances": good, **more}))[0] for more in ({}, {"partial": True}))
    assert close(plain.body["predictions"], partial.body["predictions"])
    assert plain.body.keys() == partial.body.keys() and "errors" not in partial.body
    assert partial.headers == {}


def test_with_nothing_good_every_instance_has_its_error() -> None:
    [answer] = ask_whole("catalog", as_json({"instances": [{}, None], "partial": True}))
    assert (answer.status, answer.body["predictions"]) == (200, [None, None])
    assert [error["index"] for error in answer.body["errors"]] == [0, 1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"instances": [], "partial": True}, "instances"),
        ({"instances": {}, "partial": True}, "instances"),
        ({"instances": [{"designation": "a"}], "partial": "yes"}, "partial"),
        ({"instances": [{"designation": "a"}], "partial": 1}, "partial"),
        ({"instances": [{"designation": "a"}], "partial": True, "top_k": 0}, "top_k"),
        ({"designation": 1, "partial": True}, "designation"),
    ],
)
def test_what_is_wrong_with_the_whole_request_refuses_it(body: dict[str, Any], field: str) -> None:
    [(status, said)] = ask("catalog", as_json(body))
    assert (status, said["error"]["field"]) == (422, field)


def test_a_request_of_one_may_ask_too_and_is_answered_as_ever() -> None:
    [(_, plain), (status, body)] = ask(
        "catalog", as_json({"designation": "Piscine"}), as_json({"designation": "Piscine", "partial": True})
    )
    assert status == 200 and body["predictions"] == plain["predictions"]


def test_a_constant_that_is_no_json_is_one_instances_fault() -> None:
    row, other = (
        dict(zip(loaded("code_bugs")[0].contract.features, one, strict=True)) for one in rows("code_bugs", 2).tolist()
    )
    name = next(iter(row))
    body = json.dumps({"instances": [{"features": row}, {"features": {**other, name: float("nan")}}], "partial": True})
    [(status, said)] = ask("code_bugs", (body.encode(), {"Content-Type": "application/json"}))
    assert status == 200 and said["predictions"][0] and said["predictions"][1] is None
    [error] = said["errors"]
    assert (error["index"], error["status"], error["field"]) == (1, 400, f"instances[1].features.{name}")
    assert "send null" in error["message"]


def test_rows_of_an_array_are_told_apart_as_well() -> None:
    table = rows("code_bugs", 4)
    table[1, 0], table[3] = np.inf, np.nan
    whole = (npy(table), {"Content-Type": NPY})
    [(status, said)] = ask("code_bugs", whole)
    assert (status, said["error"]["field"].partition(".")[0]) == (422, "rows[1]")
    [answer] = ask_whole("code_bugs", (whole[0], {**whole[1], "X-Partial": "true"}))
    assert answer.status == 200
    assert [one is None for one in answer.body["predictions"]] == [False, True, False, True]
    assert [error["field"].partition(".")[0] for error in answer.body["errors"]] == ["rows[1]", "rows[3]"]


def test_a_view_that_is_too_long_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = family("signflow").good("signflow")[0]["frames"]
    handler, _ = loaded("signflow")
    most = handler.contract.limits["frames"]
    whole = dataclasses.replace(handler.contract, limits={"frames": most})  # excerpts are never too long
    monkeypatch.setattr(handler, "contract", whole)
    body = {"instances": [{"frames": frames}, {"frames": (frames * most)[:most]}], "tta": True}
    [(status, said)] = ask("signflow", as_json(body))
    assert (status, said["error"]["field"]) == (422, "instances[1].frames")
    [(status, said)] = ask("signflow", as_json({**body, "partial": True}))
    assert status == 200 and said["predictions"][0] and said["predictions"][1] is None


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the forward pass fail on one product."""
    handler, _ = loaded("catalog")
    phrase = type(handler).phrase

    def trip(self: Any, outputs: Any, items: Any, top_k: Any) -> Any:
        if any(one.text == "poison" for one in items):
            raise RuntimeError("fails on purpose")
        return phrase(self, outputs, items, top_k)

    monkeypatch.setattr(type(handler), "phrase", trip)


def ask_poisoned(**headers: str) -> Whole:
    body = {"instances": [{"designation": "Piscine"}, {"designation": "poison"}, {}], "partial": True}
    return ask_whole("catalog", as_json(body, **headers))[0]


@pytest.mark.usefixtures("failing")
def test_an_instance_that_fails_in_the_forward_pass_is_ours_and_spoils_no_other() -> None:
    answer = ask_poisoned()
    assert answer.status == 200
    assert [one is None for one in answer.body["predictions"]] == [False, True, True]
    assert [(error["index"], error["status"], error["code"]) for error in answer.body["errors"]] == [
        (1, 500, "internal"),
        (2, 422, "invalid"),
    ]
    assert answer.headers == {"X-Failed-Instances": "1", "X-Refused-Instances": "1"}


@pytest.mark.usefixtures("failing")
def test_a_version_that_another_stands_in_for_leaves_such_requests_to_it_by_the_gravest_fault() -> None:
    answer = ask_poisoned(**{"X-Stand-In": "1.0"})
    assert answer.status == InternalError.status
    body = {"instances": [{"designation": "Piscine"}, {}], "partial": True}
    [(status, said)] = ask("catalog", as_json(body, **{"X-Stand-In": "1.0"}))
    assert (status, said["error"]["field"]) == (422, "instances[1].designation")


def test_explanations_keep_their_places() -> None:
    body = {"instances": [{"designation": "Piscine ronde"}, {}, {"designation": "Carnet"}], "partial": True}
    [(status, said)] = ask("catalog", as_json(body, explain="True"))
    assert status == 200
    assert [one is None for one in said["explanations"]] == [False, True, False]
    assert "Carnet" in said["explanations"][2]["attributions"]

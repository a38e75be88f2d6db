"""TorchServe kills a worker whose answers are too large for one message, so none ever are."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from handlers.base import MAX_EXPLAINED, MAX_ROWS_EXPLAINED
from handlers.decoding import NPY
from handlers.errors import MAX_ANSWER_BYTES, InvalidError, RequestError
from tests.bad_requests import npy
from tests.families import budget, code_health
from tests.handlers.every import MODELS, as_json, ask, ask_whole, family, loaded
from tests.serving import PREDICTS, ROOT, running

MODEL = "code_risk"


def test_torchserve_takes_more_than_a_batch_may_have() -> None:
    lines = dict(line.split("=", 1) for line in (ROOT / "config.properties").read_text().splitlines() if "=" in line)
    assert int(lines["max_response_size"]) >= MAX_ANSWER_BYTES + 2**20  # headers, errors


def grown(value: Any) -> Any:
    """Return a body with its texts as long as their letters take in JSON: of control characters, six bytes each."""
    if isinstance(value, dict):
        return {name: grown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [grown(one) for one in value]
    return value + "\x01" * (190 - len(value)) if isinstance(value, str) and len(value) > 12 else value


@pytest.mark.parametrize("model", MODELS)
def test_no_explanation_of_as_much_as_is_explained_at_once_comes_near_the_limit(model: str) -> None:
    handler, _ = loaded(model)
    for body in family(model).good(model):
        for one in (body, grown(body)):
            [answer] = ask_whole(
                model, as_json(one, explain="True", **{"X-Top-K": str(len(handler.contract.labels) or 1)})
            )
            if answer.status == 200:
                most = min(MAX_EXPLAINED, MAX_ROWS_EXPLAINED // handler.rows(handler.decode(one)))
                assert answer.size * most < MAX_ANSWER_BYTES / 2


def test_an_answer_over_the_limit_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    good = as_json(family(MODEL).good(MODEL)[0])
    [alone] = ask_whole(MODEL, good)
    monkeypatch.setattr("handlers.base.MAX_ANSWER_BYTES", 3 * alone.size)
    many = as_json({"instances": family(MODEL).good(MODEL) * 20})
    first, second, third = ask_whole(MODEL, good, many, good)
    assert (first.status, second.status, third.status) == (200, 422, 200)
    assert second.body["error"]["code"] == "answer_too_large"
    assert "fewer instances" in second.body["error"]["message"] and second.headers == {}


def test_answers_that_are_too_large_together_leave_out_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    good = family(MODEL).good(MODEL)
    requests = [as_json({"instances": good * count}) for count in (1, 9, 1, 12, 3)]
    sizes = [one.size for one in ask_whole(MODEL, *requests)]
    monkeypatch.setattr("handlers.answers.MAX_ANSWER_BYTES", sum(sizes) - sizes[3] // 2)
    answers = ask_whole(MODEL, *requests)
    assert [one.status for one in answers] == [200, 200, 200, 503, 200]
    assert answers[3].headers == {"X-Expired": "crowded"}
    assert answers[3].body["error"]["code"] == "answers_too_large"


def test_an_answer_that_is_no_json_is_our_fault_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, _ = loaded(MODEL)
    phrase = handler.phrase
    monkeypatch.setattr(
        handler,
        "phrase",
        lambda outputs, items, top_k: [
            {**one, "odd": 1j} if item[0] == 3 else one
            for one, item in zip(phrase(outputs, items, top_k), items, strict=True)
        ],
    )
    first = family(MODEL).good(MODEL)[0]
    name = next(iter(first["features"]))
    odd = as_json({"features": {**first["features"], name: 3}})
    usual = as_json({"features": {**first["features"], name: 2}})
    assert [status for status, _ in ask(MODEL, usual, odd, usual)] == [200, 590, 200]


def test_a_family_that_phrases_too_few_predictions_is_asked_again_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, _ = loaded(MODEL)
    phrase = handler.phrase
    few: list[int] = []

    def too_few(outputs: Any, items: Any, top_k: Any) -> Any:
        few.append(len(items))
        return phrase(outputs, items, top_k)[:1]

    monkeypatch.setattr(handler, "phrase", too_few)
    good = as_json(family(MODEL).good(MODEL)[0])
    assert [status for status, _ in ask(MODEL, good, good)] == [200, 200]
    assert few == [2, 1, 1]


def test_what_an_error_quotes_is_short() -> None:
    long = "x" * 100_000
    for error in (InvalidError(long, long, long), RequestError(long, field=long)):
        assert len(json.dumps(error.body("id"))) < 5000


def test_every_transactions_reasons_of_many_users_are_not_explained_at_once() -> None:
    odd = [budget.payment("\x01" * 200, -900.0 - k, "2026-03-13") for k in range(100)]
    user = {"transactions": odd, "thresholds": {"suspicious": 0, "anomalous": 0}}
    [(status, answer)] = ask("budget_anomaly", as_json({"instances": [user] * 64}, explain="True"))
    assert (status, answer["error"]["field"]) == (422, "instances")
    assert "512 rows" in answer["error"]["expected"]
    [(status, answer)] = ask("budget_anomaly", as_json({"instances": [user] * 5}, explain="True"))
    assert status == 200


@pytest.mark.slow
def test_served_many_large_answers_at_once_kill_no_worker() -> None:
    [path] = loaded("code_meta")[1].glob("*.mar")
    body = npy(code_health.rows("code_meta", 4096).astype(np.float32))
    patient = PREDICTS | {"request_timeout_s": 180}  # a busy machine takes its time
    with running([path], patient) as server, httpx.Client(base_url=server.url, timeout=240) as client:
        workers = server.worker_pids("code_meta")

        def ask_much(_: int) -> httpx.Response:
            return client.post("/predictions/code_meta", content=body, headers={"Content-Type": NPY})

        assert len(ask_much(0).content) * 20 > 16 * 2**20
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask_much, range(20)))
        statuses = [one.status_code for one in answers]
        assert statuses.count(200) >= 6
        assert set(statuses) <= {200, 503}, statuses
        assert all(one.headers.get("Retry-After") for one in answers if one.status_code == 503)
        assert server.worker_pids("code_meta") == workers

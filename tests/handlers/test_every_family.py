"""What holds for every model of every family; a family that tests/families does not know fails here."""

import gc
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from handlers.errors import RequestError
from tests.bad_requests import Bad
from tests.handlers import error_texts
from tests.handlers.every import FAMILIES, MODELS, as_json, ask, bad_of, close, family, loaded
from tests.serving import PREDICTS, ROOT, Server, running
from training.family import families, recipe
from training.packaging.archive import TABULAR_TOLERANCE, TOLERANCE

BAD = [(model, name) for model in MODELS for name in bad_of(model)]


def test_no_family_is_left_out() -> None:
    released = set(families())
    assert released == set(FAMILIES)
    for name in FAMILIES:  # what scripts/train.py looks for in a store
        assert set(recipe(name).MODELS) == {m for m in MODELS if MODELS[m] == name}
    answers = re.compile(r"class \w+\((Tabular)?Handler\b")
    sources = [path for path in ROOT.glob("handlers/**/*.py") if answers.search(path.read_text())]
    handling = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources}
    used = {family(model).releases()[model].handler.partition(":")[0] for model in MODELS}
    assert used <= handling <= used | {"handlers.base", "handlers.tabular"}


@pytest.mark.parametrize("model", MODELS)
def test_good_requests_are_answered_alike_alone_together_and_in_one(model: str) -> None:
    bodies = family(model).good(model)
    assert len(bodies) >= 3
    alone = [ask(model, as_json(body))[0] for body in bodies]
    assert [status for status, _ in alone] == [200] * len(bodies), alone
    together = ask(model, *map(as_json, bodies))
    [(status, many)] = ask(model, as_json({"instances": bodies}))
    assert status == 200
    for (_, single), (_, beside), inside in zip(alone, together, many["predictions"], strict=True):
        assert close(beside["predictions"], single["predictions"])
        assert close(inside, single["predictions"])
    assert (alone[0][1]["model"], alone[0][1]["version"]) == (model, "1.0")


@pytest.mark.parametrize("model", MODELS)
def test_the_archives_own_example_is_answered(model: str) -> None:
    [(status, answer)] = ask(model, as_json(dict(family(model).releases()[model].example)))
    assert status == 200, answer


@pytest.mark.parametrize(("model", "name"), BAD)
def test_bad_input_gets_its_own_status_and_says_what_was_expected(model: str, name: str) -> None:
    bad = bad_of(model)[name]
    [(status, answer)] = ask(model, (bad.body, bad.headers))
    assert status == bad.status, answer
    error = answer["error"]
    assert error["message"] and error["request_id"]
    if status == 422:
        assert error["field"].startswith(bad.field), error
        assert error["expected"] and error["received"]


@pytest.mark.parametrize("model", MODELS)
def test_bad_requests_never_change_a_neighbours_answer(model: str) -> None:
    good, bad = family(model).good(model), list(bad_of(model).values())
    rng = np.random.default_rng(0)
    for _ in range(5):
        mix = [good[k] if k < len(good) else bad[k - len(good)] for k in rng.integers(0, 2 * len(good), 12)]
        sent = [(one.body, one.headers) if isinstance(one, Bad) else as_json(one) for one in mix]
        for one, request, (status, answer) in zip(mix, sent, ask(model, *sent), strict=True):
            [(expected, alone)] = ask(model, request)
            assert status == expected == (one.status if isinstance(one, Bad) else 200)
            if status == 200:
                assert close(answer["predictions"], alone["predictions"])


@pytest.mark.parametrize("model", MODELS)
def test_nothing_of_a_refused_request_waits_for_the_garbage_collector(model: str) -> None:
    gc.collect()
    gc.disable()
    try:
        for bad in bad_of(model).values():
            ask(model, (bad.body, bad.headers))
        ask(model, as_json(family(model).good(model)[0], explain="True"))  # which some refuse
        assert not [one for one in gc.get_objects() if issubclass(type(one), RequestError)]
    finally:
        gc.enable()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_explains_itself_or_says_that_it_cannot(model: str) -> None:
    [(status, answer)] = ask(model, as_json(family(model).good(model)[0], explain="True"))
    if status == 200:
        assert answer["explanations"]["method"]
    else:
        assert (status, answer["error"]["code"]) == (422, "invalid")


@pytest.mark.parametrize("model", MODELS)
def test_the_certificate_states_a_gap_within_its_tolerance(model: str) -> None:
    _, store = loaded(model)
    certificate = json.loads((store / "unpacked" / "certificate.json").read_text())
    assert certificate["gap"]["value"] <= certificate["tolerance"] <= TOLERANCE
    if model != "signflow":
        assert certificate["tolerance"] <= TABULAR_TOLERANCE
        assert certificate["decisions_equal"] >= 100


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The models of this run's tests behind one real server."""
    tests = (one for one in request.session.items if isinstance(one, pytest.Function) and one.parent is request.node)
    models = [one.callspec.params["model"] for one in tests if "server" in one.fixturenames]
    with running([path for model in models for path in loaded(model)[1].glob("*.mar")], PREDICTS) as server:
        yield server


@pytest.mark.parametrize("model", MODELS)
def test_served_each_bad_request_gets_its_own_answer_beside_good_ones_that_get_theirs(
    model: str, server: Server
) -> None:
    good, bad = family(model).good(model), list(bad_of(model).values())
    requests = [(200, "", *as_json(body)) for body in good for _ in range(3)]
    requests += [(one.status, one.field, one.body, one.headers) for one in bad]
    workers = server.worker_pids(model)
    with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(16) as pool:

        def send(one: tuple[int, str, bytes, dict[str, str]]) -> httpx.Response:
            return client.post(f"/predictions/{model}", content=one[2], headers=one[3])

        alone = [send(one).json()["predictions"] for one in requests[: 3 * len(good)]]
        order = np.random.default_rng(0).permutation(len(requests))
        answers = dict(zip(order.tolist(), pool.map(lambda place: send(requests[place]), order), strict=True))
    for place, (status, field, _, _) in enumerate(requests):
        answer = answers[place]
        assert answer.status_code == status, answer.text
        if status == 200:
            assert close(answer.json()["predictions"], alone[place])
        elif status == 422:
            assert answer.json()["error"]["field"].startswith(field)
    assert set(workers) <= set(server.worker_pids(model))  # nobody died; a second one may just have come


@pytest.mark.parametrize("model", json.loads(error_texts.TEXTS.read_text()))
def test_a_refusal_says_what_it_said(model: str) -> None:
    assert error_texts.texts(model) == json.loads(error_texts.TEXTS.read_text())[model]

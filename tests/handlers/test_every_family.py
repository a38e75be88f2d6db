"""What holds for every model of every family; a family that tests/families does not know fails here."""

import functools
import gc
import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from archives.store import unpack
from handlers.base import Handler
from handlers.errors import RequestError
from handlers.wire import JSON
from tests.handlers.context import Context
from tests.requests import Bad, bad_anywhere
from tests.serving import ROOT, Server, running
from training.archive import TABULAR_TOLERANCE, TOLERANCE, build

FAMILIES = sorted(path.stem for path in (ROOT / "tests" / "families").glob("[a-z]*.py"))
MODELS = {model: family for family in FAMILIES for model in importlib.import_module(f"tests.families.{family}").MODELS}

Answer = tuple[int, dict[str, Any]]


def family(model: str) -> Any:
    return importlib.import_module(f"tests.families.{MODELS[model]}")


@functools.cache
def loaded(model: str) -> tuple[Handler[Any], Path]:
    """Build a model's archive, unpack it, and load its handler from this tree."""
    release = family(model).releases()[model]
    store = Path(tempfile.mkdtemp(prefix="marina-family-"))
    unpack(build(release, store).path, store / "unpacked")
    module, _, name = release.handler.partition(":")
    handler: Handler[Any] = getattr(importlib.import_module(module), name)()
    handler.initialize(Context(store / "unpacked"))
    return handler, store


@pytest.fixture(scope="module", autouse=True)
def _swept() -> Any:
    yield
    for model in MODELS:
        shutil.rmtree(loaded(model)[1], ignore_errors=True)
    loaded.cache_clear()


def ask(model: str, *requests: tuple[bytes, dict[str, str]]) -> list[Answer]:
    handler, store = loaded(model)
    context = Context(store / "unpacked", [headers for _, headers in requests])
    bodies = handler.handle([{"body": bytearray(body)} for body, _ in requests], context)
    return [(status, json.loads(body)) for status, body in zip(context.statuses, bodies, strict=True)]


def as_json(value: Any, **headers: str) -> tuple[bytes, dict[str, str]]:
    return json.dumps(value).encode(), {"Content-Type": JSON, **headers}


def close(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same up to 1e-5 in their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-5, abs=1e-5)
    return bool(one == other)


def bad_of(model: str) -> dict[str, Bad]:
    mine = family(model).bad(model)
    return bad_anywhere(family(model).good(model)[0]) | mine


BAD = [(model, name) for model in MODELS for name in bad_of(model)]


def test_no_family_is_left_out() -> None:
    released = {path.name.removesuffix("_release.py") for path in ROOT.glob("training/*_release.py")}
    assert released == set(FAMILIES)
    for name in FAMILIES:  # what scripts/train.py looks for in a store
        assert set(importlib.import_module(f"training.{name}").MODELS) == {m for m in MODELS if MODELS[m] == name}
    answers = re.compile(r"class \w+\((Tabular)?Handler\b")
    handling = {path.stem for path in ROOT.glob("handlers/*.py") if answers.search(path.read_text())}
    used = {family(model).releases()[model].handler.partition(":")[0].removeprefix("handlers.") for model in MODELS}
    assert handling - {"base", "tabular"} <= used


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
def server() -> Iterator[Server]:
    """All models behind one real server."""
    with running([path for model in MODELS for path in loaded(model)[1].glob("*.mar")]) as server:
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

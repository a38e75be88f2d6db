import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archives.store import unpack
from handlers.catalog import MOST_HIDDEN, CatalogHandler
from handlers.decoding import JSON
from tests.families.catalog import releases
from tests.handlers.context import Context
from training.packaging.archive import build


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    store: Path = tmp_path_factory.mktemp("catalog")
    unpack(build(releases()["catalog"], store).path, store / "unpacked")
    handler = CatalogHandler()
    handler.initialize(Context(store / "unpacked"))

    def asked(body: dict[str, Any], **headers: str) -> Any:
        context = Context(store / "unpacked", [{"Content-Type": JSON, **headers}])
        [answer] = handler.handle([{"body": bytearray(json.dumps(body).encode())}], context)
        assert context.statuses[0] == 200, answer
        return json.loads(answer)

    return asked


def test_markup_changes_no_answer(ask: Callable[..., Any]) -> None:
    plain = {"designation": "Piscine ronde", "description": "bassin avec échelle"}
    marked = {"designation": "<b>Piscine</b> ronde", "description": "<p>bassin&nbsp;avec<br>&eacute;chelle</p>"}
    assert ask(plain)["predictions"] == ask(marked)["predictions"]


def test_an_absent_a_null_and_an_empty_description_are_the_same(ask: Callable[..., Any]) -> None:
    answers = [ask({"designation": "Piscine", **more}) for more in ({}, {"description": None}, {"description": ""})]
    assert answers[0]["predictions"] == answers[1]["predictions"] == answers[2]["predictions"]


def test_a_pool_is_a_pool(ask: Callable[..., Any]) -> None:
    best = ask({"designation": "Piscine Hors Sol", "description": "liner, bassin, filtration et margelle"})
    assert best["predictions"][0]["label"] == "2583"


def test_the_words_that_decide_weigh_most_in_an_explanation(ask: Callable[..., Any]) -> None:
    body = {"designation": "Piscine ronde bleue", "description": "vendu selon photo. Liner et liner !"}
    found = ask(body, explain="True")["explanations"]
    assert set(found["attributions"]) == {"Piscine", "ronde", "bleue", "vendu", "selon", "photo.", "Liner", "et"}
    assert {"Piscine", "Liner"} & set(list(found["attributions"])[:3])
    sizes = [abs(value) for value in found["attributions"].values()]
    assert sizes == sorted(sizes, reverse=True)
    assert found["label"] == ask(body)["predictions"][0]["label"]


def test_an_explanation_of_a_long_text_is_bounded(ask: Callable[..., Any]) -> None:
    found = ask({"designation": " ".join(f"mot{k}" for k in range(200))}, explain="True")["explanations"]
    assert len(found["attributions"]) == MOST_HIDDEN


@pytest.mark.parametrize("top_k", [1, 27])
def test_as_many_codes_are_answered_as_were_asked_for(ask: Callable[..., Any], top_k: int) -> None:
    probabilities = [one["probability"] for one in ask({"designation": "Piscine", "top_k": top_k})["predictions"]]
    assert len(probabilities) == top_k
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) <= 1 + 1e-6

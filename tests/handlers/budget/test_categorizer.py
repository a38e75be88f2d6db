import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.store import unpack
from handlers.budget.categorizer import BudgetCategorizerHandler
from handlers.decoding import JSON
from tests.families.budget import payment, releases
from tests.handlers.context import Context
from training.packaging.archive import build


class Loaded(BudgetCategorizerHandler):
    folder: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("categorizer")
    unpack(build(releases()["budget_categorizer"], store).path, store / "unpacked")
    return store / "unpacked"


@pytest.fixture(scope="module")
def handler(folder: Path) -> Loaded:
    return loaded(folder)


def loaded(folder: Path, mode: str = "hybrid") -> Loaded:
    handler = Loaded()
    handler.initialize(Context(folder))
    family = json.loads((folder / "family.json").read_text())
    handler._know({**family, "mode": mode})
    handler.folder = folder
    return handler


def ask(handler: Any, body: dict[str, Any], path: str = "predictions") -> Any:
    context = Context(handler.folder, [{"Content-Type": JSON, "explain": str(path == "explanations")}])
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], context)
    assert context.statuses == [200], answer
    return json.loads(answer)[path]


RENT = payment("PRLV SEPA FONCIA LYON 12345678", -812.4)
STRANGER = payment("CB XQZWV KJHGF 12/03", -12.0)
VAGUE = payment("CB GARAGE XQZWV 12/03", -61.0)


def test_a_sure_rule_answers_first_and_says_why(handler: Loaded) -> None:
    answer = ask(handler, RENT)
    assert (answer["label"], answer["source"], answer["rule"]) == ("logement", "rule", "landlord-company")
    assert answer["probability"] == 0.95 and answer["why"] == "rule landlord-company fires, confidence 0.95"
    assert answer["operation"] == "debit" and len(answer["top"]) == 3


def test_where_no_rule_is_sure_the_model_answers_or_says_that_it_is_not_sure(handler: Loaded) -> None:
    answer = ask(handler, STRANGER)
    sure = handler.contract.thresholds["model"]
    assert answer["rule"] is None and answer["label"] == answer["top"][0]["label"]
    assert answer["source"] == ("model" if answer["probability"] >= sure else "fallback")
    assert answer["why"].startswith("no rule fires; the model ")


def test_a_rule_that_is_not_sure_is_named_beside_the_answer(handler: Loaded) -> None:
    answer = ask(handler, VAGUE)
    assert answer["rule"] == "garage-by-name" and answer["source"] in ("model", "fallback")
    assert "rule garage-by-name is not sure (0.6)" in answer["why"]


def test_rules_alone_answer_where_the_mode_says_so(folder: Path) -> None:
    rules = loaded(folder, "rules")
    assert ask(rules, RENT)["source"] == "rule"
    assert {ask(rules, one)["source"] for one in (STRANGER, VAGUE)} == {"fallback"}
    assert "the model is not asked" in ask(rules, STRANGER)["why"]


def test_without_the_model_a_rule_that_is_not_sure_still_answers(handler: Loaded) -> None:
    item = handler.decode(VAGUE)
    answer = handler.unanswered(item, 3)
    assert (answer["label"], answer["source"], answer["top"]) == ("transport", "fallback", [])


def test_many_instances_are_answered_as_each_alone(handler: Loaded) -> None:
    bodies = [RENT, STRANGER, VAGUE, {**RENT, "account": "joint", "user": "user-0001"}, payment("CHEQUE 1234567", -80)]
    together = ask(handler, {"instances": bodies})
    for one, alone in zip(together, [ask(handler, body) for body in bodies], strict=True):
        assert [one[key] for key in ("label", "source", "rule", "why")] == [
            alone[key] for key in ("label", "source", "rule", "why")
        ]
        assert one["probability"] == pytest.approx(alone["probability"], abs=1e-6)


def test_a_user_the_model_has_met_may_be_answered_otherwise(handler: Loaded) -> None:
    known = handler.engine.run(handler.prepare([handler.decode({**STRANGER, "user": "user-0003", "account": "main"})]))
    nobody = handler.engine.run(handler.prepare([handler.decode(STRANGER)]))
    assert not np.allclose(known["probabilities"], nobody["probabilities"])


def test_an_explanation_hides_words_and_facts_and_shows_the_rule(handler: Loaded) -> None:
    explanation = ask(handler, RENT, "explanations")
    assert [one["word"] for one in explanation["words"]] == ["FONCIA", "LYON"]
    assert list(explanation["attributions"]) == ["operation", "amount", "date", "owner"]
    assert explanation["rule"]["name"] == "landlord-company" and explanation["rule"]["matched"] == ["FONCIA"]
    hidden = handler.decode({**RENT, "label": "PRLV SEPA LYON"})
    shown = handler.engine.run(handler.prepare([handler.decode(RENT), hidden]))["probabilities"]
    label = handler.contract.labels.index(explanation["label"])
    assert explanation["words"][0]["attribution"] == pytest.approx(float(shown[0, label] - shown[1, label]), abs=1e-6)


@pytest.mark.parametrize("label", ["-", "123456", "", "   ", None, "CB", "PAIEMENT", "12/03/2026", "4974XXXXXXXX1234"])
def test_a_label_that_names_no_one_is_answered_as_such(handler: Loaded, label: str | None) -> None:
    body = {"label": label, "amount": "-12.50", "date": "2026-03-12T10:00:00+01:00"}
    answer = ask(handler, body)
    assert answer["source"] == "fallback" and answer["why"].startswith("the label names no one")
    assert ask(handler, {"instances": [body, RENT]})[0]["label"] == answer["label"]


def test_an_absent_label_is_an_empty_one(handler: Loaded) -> None:
    absent = ask(handler, {"amount": -12.5, "date": "2026-03-12"})
    assert absent == ask(handler, {"label": "", "amount": -12.5, "date": "2026-03-12"})


def test_a_long_label_is_answered_as_its_beginning_and_refuses_no_neighbour(handler: Loaded) -> None:
    long = payment(RENT["label"] + " REF/123456" * 300, RENT["amount"])
    assert len(long["label"]) > 3000
    whole = ask(handler, {"instances": [RENT, long, STRANGER]})
    assert whole[1]["rule"] == whole[0]["rule"] == "landlord-company" and len(whole) == 3


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"amount": 0}, "amount", "nothing was paid"),
        ({"amount": 42.5}, "amount", "positive"),
        ({"amount": -1_250_000}, "amount", "cents"),
        ({"date": "2150-01-01"}, "date", "ahead"),
    ],
)
def test_what_is_odd_is_answered_with_a_warning(
    handler: Loaded, changed: dict[str, Any], field: str, words: str
) -> None:
    context = Context(handler.folder, [{"Content-Type": JSON}])
    [answer] = handler.handle([{"body": json.dumps({**payment(), **changed}).encode()}], context)
    [warning] = json.loads(answer)["warnings"]
    assert warning["field"] == field and words in warning["message"]


def test_a_usual_payment_comes_without_warnings_and_many_of_cents_with_one(handler: Loaded) -> None:
    def warnings(amounts: list[float]) -> Any:
        body = {"instances": [payment(amount=amount) for amount in amounts]}
        [answer] = handler.handle(
            [{"body": json.dumps(body).encode()}], Context(handler.folder, [{"Content-Type": JSON}])
        )
        return json.loads(answer).get("warnings")

    assert warnings([-42.5, -3.2, -18, -60]) is None
    [cents] = warnings([-4250.0, -320, -1800, -6000, -1250, -999, -2340, -8800, -1510])
    assert cents["field"] == "instances[0].amount" and "cents" in cents["message"]
    [unsigned] = warnings([4.5, 3.2, 18, 60, 12, 13, 14])
    assert "and 6 more" in unsigned["message"]

import json
from pathlib import Path
from typing import Any

import pytest

from archives.store import unpack
from handlers.budget.forecast import BudgetForecastHandler
from handlers.decoding import JSON
from tests.families.budget import category, releases, subscription
from tests.handlers.context import Context
from training.packaging.archive import build


class Loaded(BudgetForecastHandler):
    folder: Path


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("forecast")
    unpack(build(releases()["budget_forecast"], folder).path, folder / "unpacked")
    loaded = Loaded()
    loaded.initialize(Context(folder / "unpacked"))
    loaded.folder = folder / "unpacked"
    return loaded


def ask(handler: Any, body: dict[str, Any], path: str = "predictions") -> Any:
    context = Context(handler.folder, [{"Content-Type": JSON, "explain": str(path == "explanations")}])
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], context)
    assert context.statuses == [200], answer
    return json.loads(answer)[path]


def month(*categories: dict[str, Any], day: int = 12, **more: Any) -> dict[str, Any]:
    return {"month": "2026-11", "day": day, "categories": list(categories), **more}


def test_categories_come_back_in_order_with_intervals_around_their_forecasts(handler: Loaded) -> None:
    answer = ask(handler, month(category(), category("logement", months=[800] * 24, spent=800, by_now=[800] * 12)))
    assert [one["name"] for one in answer["categories"]] == ["alimentation", "logement"]
    for one in answer["categories"]:
        assert one["spent_eur"] <= one["low_eur"] <= one["forecast_eur"] <= one["high_eur"]
    food, rent = answer["categories"]
    assert rent["forecast_eur"] == pytest.approx(800, rel=0.05)
    assert rent["high_eur"] - rent["low_eur"] < food["high_eur"] - food["low_eur"]
    assert (answer["month"], answer["day"], answer["interval"]) == ("2026-11", 12, 0.8)


def test_the_total_adds_up_and_is_no_less_than_what_is_spent(handler: Loaded) -> None:
    answer = ask(
        handler, month(category(), category("loisirs"), category("voyages", months=[0] * 24, spent=0, by_now=[0] * 12))
    )
    whole, parts = answer["total"], answer["categories"]
    assert whole["low_eur"] <= whole["forecast_eur"] <= whole["high_eur"]
    assert whole["high_eur"] - whole["low_eur"] < sum(one["high_eur"] - one["low_eur"] for one in parts)
    assert whole["spent_eur"] == sum(one["spent_eur"] for one in parts)


def test_the_last_day_is_certain(handler: Loaded) -> None:
    [only] = ask(handler, month(category(spent=251.0), day=30))["categories"]
    assert only["forecast_eur"] == pytest.approx(251, rel=0.03) and only["high_eur"] - only["low_eur"] < 30


def test_pounds_are_answered_as_euros_are(handler: Loaded) -> None:
    one = category()
    tenfold = {key: [10 * x for x in value] if isinstance(value, list) else value for key, value in one.items()}
    [small] = ask(handler, month(one))["categories"]
    [large] = ask(handler, month({**tenfold, "spent": 1200.0}))["categories"]
    assert large["forecast_eur"] == pytest.approx(10 * small["forecast_eur"], rel=1e-3)


def test_a_budget_that_will_not_hold_and_a_dearer_subscription_are_findings(handler: Loaded) -> None:
    charges = [subscription(9.99 if at < 6 else 13.99, at) for at in range(1, 11)]
    answer = ask(handler, month(category(budget=150), category("abonnements"), transactions=charges))
    kinds = {one["kind"]: one for one in answer["findings"]}
    assert kinds["overspend"]["category"] == "alimentation" and kinds["overspend"]["probability"] > 0.5
    assert kinds["subscription_growth"]["label"] == "PRLV SEPA NETFLIX"
    assert kinds["subscription_growth"]["since"] == "2026-06-07"


def test_a_quiet_household_has_no_findings(handler: Loaded) -> None:
    assert ask(handler, month(category("logement", months=[800] * 24, spent=800, by_now=[800] * 12)))["findings"] == []


def test_an_explanation_gives_every_feature_its_euros(handler: Loaded) -> None:
    explained = ask(handler, month(category(), category("loisirs")), "explanations")["categories"]
    assert set(explained) == {"alimentation", "loisirs"}
    assert set(explained["loisirs"]) == set(handler.contract.features)


def test_a_known_category_follows_its_season_and_an_unknown_one_is_answered(handler: Loaded) -> None:
    assert handler._seasons[0].keys() >= {"alimentation", "voyages"}
    assert ask(handler, month(category("quelque chose")))["categories"][0]["forecast_eur"] > 120


def test_amounts_as_strings_are_read(handler: Loaded) -> None:
    one = category(budget=250)
    written = {
        **one,
        "months": [f"{value:.2f}" for value in one["months"]],
        "by_now": [f"{value:.2f}".replace(".", ",") for value in one["by_now"]],
        "spent": "120,00",
        "budget": "250 EUR",
    }
    charge = {"category": "abonnements", "label": None, "amount": "-9.99", "date": "2026-10-07T00:00:00Z"}
    plain = {**charge, "label": "", "amount": -9.99, "date": "2026-10-07"}
    assert ask(handler, month(written, transactions=[charge])) == ask(handler, month(one, transactions=[plain]))


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"spent": 12_000_0.0}, "categories[0].spent", "cents"),
        ({"months": [0.0] * 24, "by_now": None, "spent": 0.0}, "categories", "nothing was spent"),
        ({"months": [-300.0] * 24, "by_now": None}, "categories[0].months", "positive"),
        ({"spent": -1200.0}, "categories[0].spent", "came back"),
    ],
)
def test_an_odd_category_is_answered_with_a_warning(
    handler: Loaded, changed: dict[str, Any], field: str, words: str
) -> None:
    body = {"month": "2025-11", "day": 12, "categories": [category(**changed)]}
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], Context(handler.folder, [{"Content-Type": JSON}]))
    [warning] = json.loads(answer)["warnings"]
    assert warning["field"] == field and words in warning["message"]


def test_a_month_far_ahead_is_answered_with_a_warning(handler: Loaded) -> None:
    body = {"month": "2199-11", "day": 12, "categories": [category()]}
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], Context(handler.folder, [{"Content-Type": JSON}]))
    assert [one["field"] for one in json.loads(answer)["warnings"]] == ["month"]

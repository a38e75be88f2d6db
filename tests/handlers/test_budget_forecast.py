import json
from typing import Any

import pytest

from archives.store import unpack
from handlers.budget_forecast import BudgetForecastHandler
from handlers.wire import JSON
from tests.families.budget import category, releases, subscription
from tests.handlers.context import Context
from training.archive import build


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> BudgetForecastHandler:
    folder = tmp_path_factory.mktemp("forecast")
    unpack(build(releases()["budget_forecast"], folder).path, folder / "unpacked")
    loaded = BudgetForecastHandler()
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


def test_categories_come_back_in_order_with_intervals_around_their_forecasts(handler: BudgetForecastHandler) -> None:
    answer = ask(handler, month(category(), category("logement", months=[800] * 24, spent=800, by_now=[800] * 12)))
    assert [one["name"] for one in answer["categories"]] == ["alimentation", "logement"]
    for one in answer["categories"]:
        assert one["spent_eur"] <= one["low_eur"] <= one["forecast_eur"] <= one["high_eur"]
    food, rent = answer["categories"]
    assert rent["forecast_eur"] == pytest.approx(800, rel=0.05)
    assert rent["high_eur"] - rent["low_eur"] < food["high_eur"] - food["low_eur"]
    assert (answer["month"], answer["day"], answer["interval"]) == ("2026-11", 12, 0.8)


def test_the_total_adds_up_and_is_no_less_than_what_is_spent(handler: BudgetForecastHandler) -> None:
    answer = ask(
        handler, month(category(), category("loisirs"), category("voyages", months=[0] * 24, spent=0, by_now=[0] * 12))
    )
    whole, parts = answer["total"], answer["categories"]
    assert whole["low_eur"] <= whole["forecast_eur"] <= whole["high_eur"]
    assert whole["high_eur"] - whole["low_eur"] < sum(one["high_eur"] - one["low_eur"] for one in parts)
    assert whole["spent_eur"] == sum(one["spent_eur"] for one in parts)


def test_the_last_day_is_certain(handler: BudgetForecastHandler) -> None:
    [only] = ask(handler, month(category(spent=251.0), day=30))["categories"]
    assert only["forecast_eur"] == pytest.approx(251, rel=0.03) and only["high_eur"] - only["low_eur"] < 30


def test_pounds_are_answered_as_euros_are(handler: BudgetForecastHandler) -> None:
    one = category()
    tenfold = {key: [10 * x for x in value] if isinstance(value, list) else value for key, value in one.items()}
    [small] = ask(handler, month(one))["categories"]
    [large] = ask(handler, month({**tenfold, "spent": 1200.0}))["categories"]
    assert large["forecast_eur"] == pytest.approx(10 * small["forecast_eur"], rel=1e-3)


def test_a_budget_that_will_not_hold_and_a_dearer_subscription_are_findings(handler: BudgetForecastHandler) -> None:
    charges = [subscription(9.99 if at < 6 else 13.99, at) for at in range(1, 11)]
    answer = ask(handler, month(category(budget=150), category("abonnements"), transactions=charges))
    kinds = {one["kind"]: one for one in answer["findings"]}
    assert kinds["overspend"]["category"] == "alimentation" and kinds["overspend"]["probability"] > 0.5
    assert kinds["subscription_growth"]["label"] == "PRLV SEPA NETFLIX"
    assert kinds["subscription_growth"]["since"] == "2026-06-07"


def test_a_quiet_household_has_no_findings(handler: BudgetForecastHandler) -> None:
    assert ask(handler, month(category("logement", months=[800] * 24, spent=800, by_now=[800] * 12)))["findings"] == []


def test_an_explanation_gives_every_feature_its_euros(handler: BudgetForecastHandler) -> None:
    explained = ask(handler, month(category(), category("loisirs")), "explanations")["categories"]
    assert set(explained) == {"alimentation", "loisirs"}
    assert set(explained["loisirs"]) == set(handler.contract.features)


def test_a_known_category_follows_its_season_and_an_unknown_one_is_answered(handler: BudgetForecastHandler) -> None:
    assert handler._seasons[0].keys() >= {"alimentation", "voyages"}
    assert ask(handler, month(category("quelque chose")))["categories"][0]["forecast_eur"] > 120

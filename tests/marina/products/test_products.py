"""Every product's own requests are answered, with its own fields."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.product_tables import RECOMMENDATIONS, TRUTHS_OF_RULES
from marina.products import user_settings
from marina.products.feature_source import StoreFeatures
from marina.products.idempotency import UNDER_WAY_S, Idempotency
from marina.products.user_settings import UserSettings
from marina.releases import ledger
from models.code_health.features import READS
from models.market.state import REGIMES
from tests.families import budget, catalog, code_health, market
from tests.marina.products.conftest import Products

SURE = {"label": "CARTE 12/03 CARREFOUR CITY PARIS", "amount": -42.5, "date": "2026-03-13"}
UNSURE = {"label": "SARL MARTIN LYON", "amount": "-18,00", "date": "2026-03-13T10:00:00Z"}


def test_one_transaction_is_answered_by_a_rule_without_the_model(products: Products) -> None:
    before = len(products.gateway.asked)
    answer = products.client.post("/transactions/categorize", json=SURE)
    assert answer.status_code == 200, answer.text
    [one] = answer.json()["transactions"]
    assert (one["label"], one["source"]) == ("alimentation", "rule")
    assert len(products.gateway.asked) == before
    served = answer.json()["served"]
    assert served["models"]["budget_categorizer"] == {
        "version": "1.0", "cache": "rules", "prediction_id": served["request_id"],
    }  # fmt: skip
    assert served["flags"] == {"auto_categorization_rules": True, "ml_categorization": True}


def test_what_no_rule_is_sure_of_is_asked_of_the_model(products: Products) -> None:
    answer = products.client.post("/transactions/categorize", json={"transactions": [SURE, UNSURE, SURE]})
    assert answer.status_code == 200, answer.text
    found = answer.json()["transactions"]
    assert [one["source"] for one in found][::2] == ["rule", "rule"] and found[1]["source"] in ("model", "fallback")
    assert found[1]["top"] and found[1]["instance"] == 0
    assert products.gateway.asked[-1][1] == {
        "instances": [{"label": "SARL MARTIN LYON", "amount": -18.0, "date": "2026-03-13"}]
    }


def test_rules_say_what_they_can_while_the_model_is_down(products: Products) -> None:
    products.gateway.down = True
    try:
        other = {**UNSURE, "amount": -19.0}
        found = products.client.post("/transactions/categorize", json=other).json()["transactions"]
    finally:
        products.gateway.down = False
    assert found[0]["source"] == "fallback" and "cannot answer (restarting)" in found[0]["why"]


def test_odd_transactions_are_found_by_a_users_own_thresholds(products: Products) -> None:
    body = {**budget.good("budget_anomaly")[0], "user": "anna"}
    first = products.client.post("/ml/anomaly/detect", json=body)
    assert first.status_code == 200, first.text
    own = {"suspicious": 0.0, "anomalous": 0.0}
    assert products.client.get("/ml/anomaly/thresholds/anna").json()["suspicious"] is None
    changed = products.client.put("/ml/anomaly/thresholds/anna", json=own)
    assert changed.status_code == 200, changed.text
    assert products.client.get("/ml/anomaly/thresholds/anna").json()["anomalous"] == 0.0
    second = products.client.post("/ml/anomaly/detect", json=body).json()
    assert second["thresholds"] == own
    assert {one["verdict"] for one in second["transactions"]} == {"anomalous"}
    rid = second["transactions"][0]["request_id"]
    told = products.client.post("/ml/anomaly/feedback", json={"request_id": rid, "row": 0, "anomalous": True})
    assert told.json()["outcome"] == "early"


def month(**more: Any) -> dict[str, Any]:
    return {
        "month": "2026-11", "day": 12,
        "categories": [
            {"name": "alimentation", "months": [300.0, 310.0, 295.0] * 4, "spent": 320.0, "budget": 250},
            {"name": "loisirs", "months": [50, 60, 40] * 4, "spent": 10, "by_now": [None, 20.0]},
        ],
        **more,
    }  # fmt: skip


def test_a_month_is_forecast_with_recommendations_in_both_languages(products: Products) -> None:
    answer = products.client.post("/ml/budget/analyze", json=month(user="ben"))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["forecast"]["total"]["forecast_eur"] > 0
    [over] = [one for one in said["recommendations"] if one["kind"] == "overspend"]
    assert "« alimentation »" in over["text"]["fr"] and "€" in over["text"]["fr"]
    assert "“alimentation”" in over["text"]["en"] and "budget of €250.00" in over["text"]["en"]
    judged = products.client.post(f"/ml/recommendations/{over['id']}/feedback", json={"relevant": True})
    assert judged.json()["outcome"] == "recorded"
    with products.database.reading() as connection:
        row = connection.execute(sa.select(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id == over["id"])).one()
    assert row.relevant and json.loads(row.finding)["kind"] == "overspend"
    assert products.client.post(f"/ml/recommendations/{'0' * 32}/feedback", json={"relevant": True}).status_code == 404


def test_feedback_on_a_transaction_goes_where_its_answer_is(products: Products) -> None:
    said = {"request_id": "r-1", "label": "sante", "source": "rule", "predicted": "alimentation"}
    answers = [products.client.post("/transactions/feedback", json=said).json()["outcome"] for _ in range(2)]
    assert answers == ["recorded", "duplicate"]
    with products.database.reading() as connection:
        assert connection.execute(sa.select(TRUTHS_OF_RULES.c.predicted)).scalars().all() == ["alimentation"]
    of_model = products.client.post("/transactions/feedback", json={"request_id": "r-2", "label": "sante"})
    assert of_model.json()["outcome"] == "early"


def test_the_market_is_predicted_with_the_products_fields(products: Products) -> None:
    window, asked = market.good("market_alerts")[0], len(products.gateway.asked)
    posted = products.client.post("/api/ml/features/window", json=window)
    assert posted.status_code == 200, posted.text
    assert len(posted.json()["predictions"]) == 16
    answer = products.client.get("/api/ml/predict", params={"all_horizons": True})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    wanted = {
        "alert_type", "probability", "confidence", "horizon", "target_time", "severity_estimate", "model_version",
        "assets_affected",
    }  # fmt: skip
    assert len(said["predictions"]) == 16 and all(wanted <= one.keys() for one in said["predictions"])
    assert {one["severity_estimate"] for one in said["predictions"]} <= {None, "S2", "S3"}
    assert said["model_status"]["active_version"] == "1.0" and "versions" in said["performance_summary"]
    only = products.client.get("/api/ml/predict").json()["predictions"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marina.products.market_status.count_quality", lambda *_: pytest.fail("counted"))
        brief = products.client.get("/api/ml/predict", params={"include_performance": False}).json()
    assert brief["performance_summary"] == {} and brief["model_status"]["active_version"] == "1.0"
    assert {one["horizon"] for one in only} == {"24h"} and len(only) == 4
    features = products.client.get("/api/ml/features/current").json()
    assert features["phase"] in ("calm", "ordinary", "stressed", "dispersed") and len(features["features"]) == 18
    why = products.client.get("/api/ml/explain", params={"alert_type": "SPIKE_LIKELY", "horizon": "4h"}).json()
    assert set(why["attributions"]) == set(features["features"])
    assert len(products.gateway.asked) == asked + 1
    assert products.client.get("/api/ml/models/status").json()["model_status"]["versions"][0]["share"] == 1.0
    assert products.client.get("/api/ml/ab-tests").json()["ab_tests"] == []


def test_settings_of_the_market_change_at_once_and_are_in_the_ledger(products: Products) -> None:
    change = {
        "who": "carla", "why": "too many",
        "config": {"min_probability": 0.0, "alert_types": {"SPIKE_LIKELY": False}, "default_horizon": "48h"},
    }  # fmt: skip
    answer = products.client.put("/api/ml/config", json=change)
    assert answer.status_code == 200, answer.text
    config = products.client.get("/api/ml/config").json()["config"]
    assert config["alert_types"]["SPIKE_LIKELY"] is False and config["alert_types"]["CORRELATION_BREAKDOWN"] is True
    assert (config["min_interval_min"], config["max_per_day"], config["cache_ttl_s"]) == (360.0, 4, 600.0)
    window = market.good("market_alerts")[0]
    products.client.post("/api/ml/features/window", json=window)
    found = products.client.get("/api/ml/predict").json()["predictions"]
    assert {one["horizon"] for one in found} == {"48h"}
    assert "SPIKE_LIKELY" not in {one["alert_type"] for one in found}
    with products.database.reading() as connection:
        [row] = [one for one in ledger.entries(connection) if one.action == "market settings"]
        assert ledger.verify(connection) == []
    gated = {"who": "carla", "why": "none at all", "config": {"phase_gating": {phase: [] for phase in REGIMES}}}
    assert products.client.put("/api/ml/config", json=gated).status_code == 200
    found = products.client.get("/api/ml/predict", params={"all_horizons": True}).json()["predictions"]
    posted = products.client.post("/api/ml/features/window", json=window).json()["predictions"]
    assert found == [one for one in posted if one["alert_type"] != "SPIKE_LIKELY"]
    assert "phase" in {one["gated_by"] for one in found} and not any(one["alert"] for one in found)
    assert row.who == "carla" and row.said["changed"]["default_horizon"] == ["24h", "48h"]
    bad = products.client.put("/api/ml/config", json={**change, "config": {"min_probability": 2}})
    assert bad.status_code == 422 and "min_probability" in bad.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "model"),
    [("RiskPredictor", "code_risk"), ("AnomalyDetector", "code_anomaly"), ("bugs", "code_bugs"),
     ("ImpactAnalyzer", "code_impact"), ("Meta-learner", "code_meta")],
)  # fmt: skip
def test_code_is_judged_by_the_products_names(products: Products, name: str, model: str) -> None:
    features = code_health.good(model)[0]["features"]
    answer = products.client.post(f"/ml/code/{name}", json={"features": features}, params={"explain": True})
    assert answer.status_code == 200, answer.text
    assert "value" in answer.json()["predictions"] and answer.json()["explanations"]
    many = products.client.post(f"/ml/code/{name}", json={"instances": [features, features]})
    assert len(many.json()["predictions"]) == 2
    unknown = products.client.post(f"/ml/code/{name}", json={"repo_id": "nowhere"})
    assert unknown.status_code == 404 and READS[model][0] in unknown.json()["error"]["message"]


class Row:
    """One repository's vector, as a feature store answers."""

    def __init__(self, values: Mapping[str, float | None]) -> None:
        self._values = values

    def record(self, row: int) -> Mapping[str, Mapping[str, float | str | None]]:
        assert row == 0
        states = {name: "missing" if value is None else "fresh" for name, value in self._values.items()}
        return {name: {"value": value, "state": states[name]} for name, value in self._values.items()}


class OneRepository:
    """A store that knows one repository; the risk model's features of it."""

    async def get(self, view: str, entities: Sequence[str]) -> Row:
        assert view == "code_health"
        known = code_health.good("code_risk")[0]["features"]
        return Row({name: known[name] if entities == ["marina"] else None for name in READS["code_risk"]})


def test_a_repository_is_judged_by_what_the_store_knows_of_it(products: Products) -> None:
    before, products.context.features = products.context.features, StoreFeatures(OneRepository())
    try:
        features = code_health.good("code_risk")[0]["features"]
        direct = products.client.post("/ml/code/risk", json={"features": features}).json()
        answer = products.client.post("/ml/code/risk", json={"repo_id": "marina"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == direct["predictions"]
        assert products.client.post("/ml/code/risk", json={"repo_id": "other"}).status_code == 404
    finally:
        products.context.features = before


def test_listings_are_classified_one_many_or_as_a_file(products: Products) -> None:
    good = [one for one in catalog.good("catalog") if len(str(one)) < 1000]
    one = products.client.post("/ml/catalog/classify", json=good[0])
    assert one.status_code == 200, one.text
    many = products.client.post("/ml/catalog/classify", json={"listings": good}, params={"top_k": 1}).json()
    assert many["listings"][0]["code"] == one.json()["listings"][0]["code"]
    written = io.StringIO()
    rows = [[row["designation"], "", "=1+1"] for row in good]
    csv.writer(written, delimiter=";").writerows([["designation", "description", "price"], *rows, ["", "", "2"]])
    file = written.getvalue()
    answer = products.client.post("/ml/catalog/csv", content=file.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    lines = list(csv.reader(io.StringIO(answer.text), delimiter=";"))
    assert lines[0] == ["designation", "description", "price", "code", "probability", "version", "error"]
    assert len(lines) == len(good) + 2 and lines[1][2] == "'=1+1" and len(lines[1][3]) >= 2
    assert "expected" in lines[-1][-1]


def test_a_repeated_key_answers_alike_and_another_body_is_a_conflict(products: Products) -> None:
    key = {"Idempotency-Key": f"k{time.time_ns()}"}
    body = {"request_id": "r-3", "label": "sante", "source": "rule", "predicted": "sante"}
    first = products.client.post("/transactions/feedback", json=body, headers=key)
    again = products.client.post("/transactions/feedback", json=body, headers=key)
    assert first.json() == again.json() and first.json()["outcome"] == "recorded"
    assert again.headers["idempotent-replay"] == "true"
    other = products.client.post("/transactions/feedback", json={**body, "label": "x"}, headers=key)
    assert other.status_code == 409 and other.json()["error"]["code"] == "idempotency_conflict"


def test_a_request_that_was_taken_for_cut_off_leaves_the_key_to_the_next(database: Database) -> None:
    keys, began = Idempotency(lambda *_: None, database, 1000), time.time()  # type: ignore[arg-type]
    assert keys._begin("c", "k", "digest", began - 2 * UNDER_WAY_S) is None
    assert keys._begin("c", "k", "digest", began) is None
    keys._end("c", "k", began - 2 * UNDER_WAY_S, None, "")
    keys._end("c", "k", began, 200, "{}")
    assert keys._begin("c", "k", "digest", began + 1) == (200, "{}")


def test_what_a_user_sets_in_one_place_changes_nothing_in_another(database: Database) -> None:
    user_settings.write_channels(database, "u", ["https://127.0.0.1/x"], "en")
    user_settings.set_thresholds(database, "u", 0.25, 0.75)
    assert user_settings.read(database, "u") == UserSettings("u", 0.25, 0.75, ("https://127.0.0.1/x",), "en")
    user_settings.write_channels(database, "u", [], "fr")
    assert user_settings.read(database, "u") == UserSettings("u", 0.25, 0.75)


def test_the_page_of_the_interface_needs_no_other_host(products: Products) -> None:
    page = products.client.get("/docs")
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text
    script = products.client.get("/docs/swagger-ui-bundle.js")
    assert script.status_code == 200 and b"SwaggerUIBundle" in script.content
    described = products.client.get("/openapi.json").json()
    assert "/transactions/categorize" in described["paths"]

"""What cannot be true of an answer is refused, with a status and the field that is to blame; none of it is kept."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EARLY_LABELS, LABELS, TRUTHS
from models.market.alerts import LABELS as QUESTIONS
from tests.marina.events.every_truth import MODELS, PLACES, made
from tests.marina.events.test_api import serving
from tests.marina.events.test_known_classes import serve
from tests.marina.events.test_quality import answer

ASKED = QUESTIONS[0]

BAD: dict[str, tuple[str, Any, int, str]] = {
    # what is sent is no truth of any answer
    "no truth and no label": ("code_impact", {}, 422, "label"),
    "a label and a truth": ("market_alerts", {"label": "x", "truth": {ASKED: True}}, 422, "truth"),
    "null": ("market_alerts", {"truth": None}, 422, "truth"),
    "a string": ("market_alerts", {"truth": "true"}, 422, "truth"),
    "a number": ("code_impact", {"truth": 0.4}, 422, "truth"),
    "true": ("market_alerts", {"truth": True}, 422, "truth"),
    "an empty object": ("market_alerts", {"truth": {}}, 422, "truth"),
    "an empty list": ("budget_anomaly", {"truth": []}, 422, "truth"),
    "201 values": ("budget_forecast", {"truth": {f"c{k}": 1 for k in range(201)}}, 422, "truth"),
    "1,001 rows": (
        "budget_anomaly", {"truth": [{"row": k, "anomalous": True} for k in range(1001)]}, 422, "truth"
    ),
    "a name of 300 characters": ("budget_forecast", {"truth": {"c" * 300: 1}}, 422, "truth." + "c" * 64),
    "an empty name": ("budget_forecast", {"truth": {"": 1}}, 422, "truth."),
    "a NUL in a name": ("budget_forecast", {"truth": {"a\0b": 1}}, 422, "truth.a\0b"),
    "a string for a value": ("market_alerts", {"truth": {ASKED: "yes"}}, 422, f"truth.{ASKED}"),
    "null for a value": ("market_alerts", {"truth": {ASKED: None}}, 422, f"truth.{ASKED}"),
    "a nested object": ("market_alerts", {"truth": {ASKED: {"happened": True}}}, 422, f"truth.{ASKED}"),
    "a list for a value": ("budget_forecast", {"truth": {PLACES[0]: [1, 2]}}, 422, f"truth.{PLACES[0]}"),
    "deeply nested lists": ("budget_forecast", {"truth": [[[[[[1]]]]]]}, 422, "truth[0]"),
    "a number too large": ("budget_forecast", {"truth": {PLACES[0]: 1e300}}, 422, f"truth.{PLACES[0]}"),
    "an integer of 400 digits": ("budget_forecast", '{"truth": {"Loyer": ' + "9" * 400 + "}}", 400, "body"),
    "NaN": ("budget_forecast", '{"truth": {"Loyer": NaN}}', 400, "body"),
    "Infinity": ("budget_forecast", '{"truth": {"Loyer": Infinity}}', 400, "body"),
    "a row that is no object": ("budget_anomaly", {"truth": [3]}, 422, "truth[0]"),
    "a row without its place": ("budget_anomaly", {"truth": [{"anomalous": True}]}, 422, "truth[0].row"),
    "a row without a truth": ("budget_anomaly", {"truth": [{"row": 1}]}, 422, "truth[0].anomalous"),
    "a row with a field too many": (
        "budget_anomaly", {"truth": [{"row": 1, "anomalous": True, "why": "x"}]}, 422, "truth[0].why"
    ),
    "a row twice": (
        "budget_anomaly", {"truth": [{"row": 1, "anomalous": True}, {"row": 1, "anomalous": False}]}, 422,
        "truth[1].row",
    ),
    "a negative row": ("budget_anomaly", {"truth": {"row": -1, "anomalous": True}}, 422, "truth.row"),
    "half a row": ("budget_anomaly", {"truth": {"row": 1.5, "anomalous": True}}, 422, "truth.row"),
    "true for a row": ("budget_anomaly", {"truth": {"row": True, "anomalous": True}}, 422, "truth.row"),
    "a row as a string": ("budget_anomaly", {"truth": {"row": "1", "anomalous": True}}, 422, "truth.row"),
    "anomalous 2": ("budget_anomaly", {"truth": {"row": 1, "anomalous": 2}}, 422, "truth.anomalous"),
    "anomalous 0.5": ("budget_anomaly", {"truth": {"row": 1, "anomalous": 0.5}}, 422, "truth.anomalous"),
    "anomalous as text": ("budget_anomaly", {"truth": {"row": 1, "anomalous": "true"}}, 422, "truth.anomalous"),
    "a field that is none": ("market_alerts", {"truth": {ASKED: True}, "horizon": 4}, 422, "horizon"),
    "a negative instance": ("market_alerts", {"truth": {ASKED: True}, "instance": -1}, 422, "instance"),
    "a label that is empty": ("catalog", {"truth": {"label": ""}}, 422, "truth.label"),
    "a label of 300 characters": ("catalog", {"truth": {"label": "c" * 300}}, 422, "truth.label"),
    # what is sent cannot be true of the answer that it belongs to
    "a class that is none": ("catalog", {"truth": {"label": "2583.0"}}, 422, "label"),
    "questions of a classifier": ("catalog", {"truth": {"10": True}}, 422, "truth"),
    "rows of a classifier": ("code_risk", {"truth": {"row": 0, "anomalous": True}}, 422, "truth"),
    "a label of a forecast": ("budget_forecast", {"label": "high"}, 422, "label"),
    "a label of questions": ("market_alerts", {"label": ASKED}, 422, "label"),
    "a label of rows": ("budget_anomaly", {"label": "anomalous"}, 422, "label"),
    "rows of questions": ("market_alerts", {"truth": {"row": 0, "anomalous": True}}, 422, "truth"),
    "questions of rows": ("budget_anomaly", {"truth": {"0": True}}, 422, "truth"),
    "rows of a forecast": ("budget_forecast", {"truth": [{"row": 0, "anomalous": True}]}, 422, "truth"),
    "an unknown question": (
        "market_alerts", {"truth": {ASKED: True, "SPIKE_LIKELY@5h": True}}, 422, "truth.SPIKE_LIKELY@5h"
    ),
    "a question in small letters": ("market_alerts", {"truth": {ASKED.lower(): True}}, 422, f"truth.{ASKED.lower()}"),
    "a probability of a question": ("market_alerts", {"truth": {ASKED: 0.5}}, 422, f"truth.{ASKED}"),
    "2 of a question": ("market_alerts", {"truth": {ASKED: 2}}, 422, f"truth.{ASKED}"),
    "a row out of range": ("budget_anomaly", {"truth": {"row": 6, "anomalous": True}}, 422, "truth.row"),
    "an unknown category": ("budget_forecast", {"truth": {"Course": 1}}, 422, "truth.Course"),
    "true for an amount": ("budget_forecast", {"truth": {PLACES[0]: True}}, 422, f"truth.{PLACES[0]}"),
    "an unknown target": ("code_impact", {"truth": {"impact": 0.5}}, 422, "truth.impact"),
    "an impact below 0": ("code_impact", {"truth": {"value": -0.1}}, 422, "truth.value"),
    "an impact above 1": ("code_impact", {"truth": {"value": 240}}, 422, "truth.value"),
    "negative lines": ("code_impact", {"truth": {"lines": -5}}, 422, "truth.lines"),
    "lines and an impact": ("code_impact", {"truth": {"lines": 5, "value": 0.2}}, 422, "truth.lines"),
    "true for an impact": ("code_impact", {"truth": {"value": True}}, 422, "truth.value"),
}  # fmt: skip


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Database]]:
    """The API beside a database in which every model has answered one request, named for it."""
    folder = tmp_path_factory.mktemp("api")
    database = Database(f"sqlite:///{folder}/marina.db")
    database.upgrade()
    for model, about in MODELS.items():
        serve(database, model, "1.0", about.labels, truth=about.kind)
        answer(database, model, made(model)[0][:1])
    with serving(f"sqlite:///{folder}/marina.db", folder) as (client, _):
        yield client, database
    assert (folder / "api.log").read_text() == ""
    database.close()


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_true_is_refused_by_field(what: str, answered: tuple[httpx.Client, Database]) -> None:
    client, database = answered
    model, body, status, field = BAD[what]
    name = json.dumps(f"{model}-0")
    text = body if isinstance(body, str) else json.dumps(body)
    sent = f'{{"request_id": {name}{", " * (text != "{}")}{text[1:]}'
    got = client.post("/feedback", content=sent.encode(), headers={"X-Request-Id": "q1", "X-Source": "s"})
    error = got.json()["error"]
    assert (got.status_code, error["field"], error["request_id"]) == (status, field, "q1")
    assert error["expected"] and error["received"] and field in error["message"]
    assert len(got.content) < 3000
    with database.reading() as connection:
        for table in (LABELS, TRUTHS, EARLY_LABELS):
            assert connection.execute(sa.select(table)).all() == []


def test_of_a_list_the_place_is_named_and_what_was_meant(answered: tuple[httpx.Client, Database]) -> None:
    client, _ = answered
    bad = [
        {"request_id": "market_alerts-0", "truth": {"SPIKE_LIKELY@5h": True}},
        {"request_id": "budget_forecast-0", "truth": {"Course": 12}},
        {"request_id": "budget_anomaly-0", "label": "normal"},
    ]
    got = client.post("/feedback", json={"labels": bad}, headers={"X-Source": "s"})
    body = got.json()
    assert got.status_code == 422 and body["counts"] == {"unknown": 3}
    assert body["error"]["field"] == "labels[0].truth.SPIKE_LIKELY@5h" and body["error"]["code"] == "unknown_truth"
    assert [one["nearest"] for one in body["unknown"]] == [QUESTIONS[0], "Courses", None]
    assert body["unknown"][1]["field"] == "truth.Course"
    last = client.post("/feedback", json=bad[2], headers={"X-Source": "s"}).json()["error"]
    assert last["code"] == "unknown_label" and '"row"' in last["expected"] and "Send what is true" in last["message"]

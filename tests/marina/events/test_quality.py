"""For every model: answers, truths of its kind, and measures that are those of the same rows computed elsewhere."""

import json

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, LABELS, PREDICTIONS, TRUTHS
from marina.events.feedback import read_labels
from marina.events.labels import adopt, record
from marina.events.metrics import Metrics
from marina.events.predictions import read_prediction
from marina.events.quality import QualityWindow, count_quality
from tests.marina.events.every_truth import COUNT, MODELS, made, offline
from tests.marina.events.test_known_classes import serve
from tests.marina.events.test_metrics import scraped, window

START = 1_700_000_000.0


def answer(database: Database, model: str, answers: list[object], at: float = START) -> None:
    """Log answers as the collector does, each of a request of its own, named for its place."""
    shared = {"model": model, "version": "1.0", "time": at, "picked": True, "instance": 0}
    rows = []
    for place, one in enumerate(answers):
        said = read_prediction(one)._asdict()
        rows.append({**shared, "request_id": f"{model}-{place}", **said, "answer": json.dumps(one)})
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, rows)


def post(database: Database, model: str, truths: list[dict[str, object]], now: float) -> list[str]:
    bodies = [{"request_id": f"{model}-{place}", **one} for place, one in enumerate(truths)]
    return [*record(database, read_labels(json.dumps({"labels": bodies}).encode(), "s"), now)]


@pytest.mark.parametrize("model", MODELS)
def test_measures_are_those_of_the_same_rows_computed_elsewhere(database: Database, model: str) -> None:
    about = MODELS[model]
    about.check_kind()
    serve(database, model, "1.0", about.labels, truth=about.kind)
    answers, truths = made(model)
    answer(database, model, answers[:40])
    assert post(database, model, truths, START + 60) == ["recorded"] * 40 + ["early"] * (COUNT - 40)
    answer(database, model, answers, START + 90)
    with database.writing() as connection:
        keys = [(f"{model}-{place}", 0) for place in range(40, COUNT)]
        assert adopt(database, connection, keys, START + 100) == COUNT - 40
    assert post(database, model, truths, START + 120) == ["duplicate"] * COUNT
    expected = offline(model, answers, truths)
    positive = about.labels[1] if len(about.labels) == 2 else None
    with database.reading() as connection:
        found = count_quality(connection, 0.0, None)[model, "1.0"].measures(positive)
    assert found == pytest.approx(expected, rel=1e-12)
    got = scraped(Metrics(START), database, START + 1000.0)
    names = {name: got[f'marina_quality{{model="{model}",version="1.0",measure="{name}"}}'] for name in expected}
    assert names == pytest.approx(expected, rel=1e-12)


def test_a_version_whose_kind_is_not_known_is_read_by_the_form_of_its_answers(database: Database) -> None:
    for model, about in MODELS.items():
        serve(database, model, "1.0", about.labels)
        answers, truths = made(model)
        answer(database, model, answers[:3])
        assert post(database, model, truths[:3], START) == ["recorded"] * 3, model


def test_how_many_are_labelled_of_how_many_is_said_and_how_late(database: Database) -> None:
    serve(database, "m", "1.0", MODELS["catalog"].labels, truth="label")
    answers, truths = made("catalog")
    answer(database, "m", answers[:10])
    row = window(int(START), 100, 10) | {"model": "m"}
    with database.writing() as connection:
        connection.execute(sa.insert(EVIDENCE), row)
    assert post(database, "m", truths[:4], START + 500) == ["recorded"] * 4
    metrics = Metrics(START)
    for now in (START + 600.0, START + 3600.0, START + 6 * 86_400.0):
        got = scraped(metrics, database, now)
        assert (got["marina_labelled_requests{V}"], got["marina_answered_requests{V}"]) == (4, 90)
        assert got["marina_label_lag_seconds{V}"] == 500
    assert "marina_labelled_requests{V}" not in scraped(metrics, database, START + 8 * 86_400.0)


def test_what_was_counted_is_counted_once_whenever_it_is_asked_for(database: Database) -> None:
    model = "budget_anomaly"
    serve(database, model, "1.0", (), truth="rows")
    answers, truths = made(model)
    answer(database, model, answers)
    kept = QualityWindow()
    now = START
    for place in range(0, COUNT, 6):
        now += 700.0
        mine = [{"request_id": f"{model}-{at}", **truths[at]} for at in range(place, place + 6)]
        record(database, read_labels(json.dumps({"labels": mine}).encode(), "s"), now)
        with database.reading() as connection:
            seen, fresh = kept.read(connection, now + 1), QualityWindow().read(connection, now + 1)
        assert seen[model, "1.0"].measures() == pytest.approx(fresh[model, "1.0"].measures())
        assert seen[model, "1.0"].labels == place + 6


def test_truths_are_kept_as_canonical_json_and_partly_known_ones_are_added_to(database: Database) -> None:
    serve(database, "market_alerts", "1.0", MODELS["market_alerts"].labels, truth="questions")
    answer(database, "market_alerts", made("market_alerts")[0][:1])
    questions = sorted(MODELS["market_alerts"].labels)[:3]

    def send(source: str = "s", **values: object) -> str:
        body = {"request_id": "market_alerts-0", "truth": {questions[int(key[1:])]: one for key, one in values.items()}}
        return record(database, read_labels(json.dumps(body).encode(), source), START)[0]

    assert [send(q0=1), send(q0=True), send(q1=False, q0=1), send(q1=True, q2=True), send(q2=0)] == [
        "recorded", "duplicate", "recorded", "conflict", "recorded",
    ]  # fmt: skip
    with database.reading() as connection:
        assert connection.execute(sa.select(TRUTHS.c.kind, TRUTHS.c.truth)).all() == [
            ("questions", json.dumps(dict(zip(questions, (True, False, False), strict=True))))
        ]
        assert connection.execute(sa.select(LABELS)).all() == []
    assert [send("feedback-1", q0=False), send("feedback-1", q1=True), send(q2=True), send(q0=0)] == [
        "recorded", "recorded", "conflict", "duplicate",
    ]  # fmt: skip
    with database.reading() as connection:
        known = connection.execute(sa.select(TRUTHS.c.truth, TRUTHS.c.source)).one()
    assert json.loads(known.truth) == {questions[0]: False, questions[1]: True} and known.source == "feedback-1"


def test_early_truths_of_one_source_are_put_together(database: Database) -> None:
    serve(database, "budget_anomaly", "1.0", (), truth="rows")

    def send(row: int, anomalous: bool, source: str = "s") -> str:
        body = {"request_id": "budget_anomaly-0", "truth": {"row": row, "anomalous": anomalous}}
        return record(database, read_labels(json.dumps(body).encode(), source), START)[0]

    assert [send(1, True), send(1, True), send(2, False), send(2, True), send(3, True, "t"), send(9, True, "u")] == [
        "early", "duplicate", "early", "conflict", "early", "early",
    ]  # fmt: skip
    answer(database, "budget_anomaly", made("budget_anomaly")[0][:1])
    with database.writing() as connection:
        assert adopt(database, connection, [("budget_anomaly-0", 0)], START + 1) == 1
    with database.reading() as connection:
        [known] = connection.execute(sa.select(TRUTHS.c.truth)).scalars()
        assert json.loads(known) == {"1": True, "2": False, "3": True}
        assert "\nmarina_early_labels_unknown_total{} 1\n" in Metrics(0.0).text(connection, START + 2)

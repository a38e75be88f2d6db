"""What people say of answers: feedback through the existing path, once, in the ledger, and undone by another row."""

import json
import time
from typing import Any

import sqlalchemy as sa

from marina.console import people, review_queue
from marina.database.tables import DECLARATIONS, INPUTS, LABEL_SETS, LABELS, PREDICTIONS, TRUTHS
from marina.releases import ledger
from tests.marina.console.browser import Console

REASON = {"kind": "duplicate", "part": "repetition", "days_apart": 1, "original": {"label": "FNAC", "amount": -89.9}}


def _answer(console: Console, model: str, request_id: str, answer: Any, body: Any = None) -> None:
    row = {
        "request_id": request_id, "model": model, "version": "1.0", "instance": 0, "time": time.time(), "picked": True,
        "label": answer[0]["label"] if isinstance(answer, list) else None, "confidence": 0.5,
        "answer": json.dumps(answer),
    }  # fmt: skip
    with console.database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), row)
        if body is not None:
            kept = {name: row[name] for name in ("request_id", "model", "version", "time")}
            kept |= {"content_type": "application/json", "body": json.dumps(body).encode()}
            connection.execute(sa.insert(INPUTS), kept)


def _serve(console: Console, model: str, truth: str, labels: list[str]) -> None:
    declared = {"model": model, "version": "1.0", "archive": "/x.mar", "sha256": "c" * 64, "weight": 1.0}
    with console.database.writing() as connection:
        connection.execute(sa.insert(DECLARATIONS), declared | {"input_share": 0.0, "declared_at": 1.0})
        of = {"model": model, "version": "1.0", "labels": json.dumps(labels), "truth": truth}
        connection.execute(sa.insert(LABEL_SETS), of)


def _anomalies(console: Console) -> None:
    _serve(console, "budget_anomaly", "rows", [])
    judged = [
        {"score": 0.01, "verdict": "normal", "reasons": []},
        {"score": 0.98, "verdict": "anomalous", "reasons": [REASON]},
    ]
    sent = [
        {"label": "EDF", "amount": -60, "date": "2026-03-03"},
        {"label": "FNAC <b>", "amount": -89.9, "date": "2026-03-04"},
    ]
    _answer(console, "budget_anomaly", "a1", {"transactions": judged, "reported": 1}, {"transactions": sent})


def _truths(console: Console) -> list[Any]:
    with console.database.reading() as connection:
        return [(row.truth, row.source) for row in connection.execute(sa.select(TRUTHS))]


def _labels(console: Console) -> dict[str, str]:
    with console.database.reading() as connection:
        return {row.request_id: row.label for row in connection.execute(sa.select(LABELS))}


def test_a_reported_transaction_is_judged_and_the_verdict_undone(console: Console) -> None:
    _anomalies(console)
    mine = console.browser("annotator")
    page = mine.get("/console/reviews").text
    assert "FNAC &lt;b&gt;" in page and "days_apart 1" in page and "EDF" not in page
    judged = mine.submit("/console/reviews", "/console/reviews", item="a1~0~1", verdict="normal")
    assert judged.status_code == 303
    assert _truths(console) == [('{"1":false}', "feedback-console:annotator-one")] or json.loads(
        _truths(console)[0][0]
    ) == {"1": False}
    assert "a1~0~1" not in mine.get("/console/reviews").text
    again = mine.submit("/console/reviews", "/console/annotation/undo")
    assert again.status_code == 303 and _truths(console) == []
    assert [(row.who, row.action, row.model) for row in console.rows()][-2:] == [
        ("annotator-one", "review anomaly", "budget_anomaly"), ("annotator-one", "undo label", "budget_anomaly")
    ]  # fmt: skip
    assert "a1~0~1" in mine.get("/console/reviews").text
    rows = len(console.rows())
    assert mine.submit("/console/reviews", "/console/annotation/undo").status_code == 409
    assert mine.submit("/console/reviews", "/console/reviews", item="a1~0~9", verdict="normal").status_code == 409
    assert mine.submit("/console/reviews", "/console/reviews", item="../x~0~1", verdict="normal").status_code == 422
    assert len(console.rows()) == rows


def test_each_undoes_their_own_and_what_is_gone_is_passed_over(console: Console) -> None:
    _serve(console, "budget_anomaly", "rows", [])
    judged = {"score": 0.98, "verdict": "anomalous", "reasons": [REASON]}
    for name in ("a1", "a2"):
        _answer(console, "budget_anomaly", name, {"transactions": [judged, judged], "reported": 2})
    console.tokens["zoe"] = people.add(console.database, "zoe", "annotator", "test", 1.0)
    first, second = console.browser("annotator"), console.browser("zoe")
    page, undo = "/console/reviews", "/console/annotation/undo"
    for person, item in ((first, "a1~0~0"), (second, "a1~0~1"), (second, "a2~0~0")):
        assert person.submit(page, page, item=item, verdict="normal").status_code == 303
    with console.database.writing() as connection:
        connection.execute(sa.delete(TRUTHS).where(TRUTHS.c.request_id == "a2"))  # its time was over
    assert second.submit(page, undo).status_code == 303
    assert [json.loads(truth) for truth, _ in _truths(console)] == [{"0": False}]
    assert second.submit(page, undo).status_code == 409
    assert first.submit(page, undo).status_code == 303 and _truths(console) == []


def test_the_least_certain_come_first_and_labels_count_at_once(console: Console) -> None:
    _serve(console, "signs", "label", ["hello", "thanks", "yes"])
    for number, share in enumerate((0.9, 0.4, 0.6)):
        likely = [{"label": "hello", "probability": share}, {"label": "yes", "probability": 0.35}]
        _answer(console, "signs", f"s{number}", likely)
    mine = console.browser("annotator")
    page = mine.get("/console/annotation?model=signs").text
    assert page.index("s1~0~-1") < page.index("s2~0~-1") < page.index("s0~0~-1") and 'value="thanks"' in page
    said = mine.submit("/console/annotation?model=signs", "/console/annotation", item="s1~0~-1", label="thanks")
    assert said.headers["location"] == "/console/annotation?model=signs" and _labels(console) == {"s1": "thanks"}
    bad = mine.submit("/console/annotation?model=signs", "/console/annotation", item="s2~0~-1", label="nonsense")
    assert bad.status_code == 409 and _labels(console) == {"s1": "thanks"}
    mine.submit("/console/annotation?model=signs", "/console/annotation/undo")
    assert _labels(console) == {}
    with console.database.reading() as connection:
        assert ledger.verify(connection) == []


def test_one_in_ten_is_asked_twice_and_agreement_is_shown(console: Console) -> None:
    _serve(console, "signs", "label", ["hello", "yes"])
    twice = next(f"t{n}" for n in range(1000) if review_queue.is_asked_twice(f"t{n}"))
    once = next(f"t{n}" for n in range(1000) if not review_queue.is_asked_twice(f"t{n}"))
    for name in (twice, once):
        _answer(console, "signs", name, [{"label": "hello", "probability": 0.5}, {"label": "yes", "probability": 0.4}])
    console.tokens["zoe"] = people.add(console.database, "zoe", "annotator", "test", 1.0)
    page = "/console/annotation?model=signs"
    first, second = console.browser("annotator"), console.browser("zoe")
    for name in (twice, once):
        first.submit(page, "/console/annotation", item=f"{name}~0~-1", label="yes")
    text = second.get(page).text
    assert f"{twice}~0~-1" in text and f"{once}~0~-1" not in text and "hello 50" not in text
    second.submit(page, "/console/annotation", item=f"{twice}~0~-1", label="hello")
    assert _labels(console)[twice] == "yes"
    assert "agreed on 0 of 1" in second.get(page).text and f"{twice}~0~-1" not in second.get(page).text


def test_viewers_may_look_and_not_label(console: Console) -> None:
    _anomalies(console)
    mine = console.browser("viewer")
    assert mine.submit("/console/reviews", "/console/reviews", item="a1~0~1", verdict="normal").status_code == 403
    assert _truths(console) == []

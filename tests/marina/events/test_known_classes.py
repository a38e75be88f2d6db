"""A label that is no class of the model that answered is not kept, and who sent it is told what was meant."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, EARLY_LABELS, LABELS, PREDICTIONS
from marina.events import known_classes
from marina.events.feedback import read_labels
from marina.events.known_classes import KnownClasses, find_nearest
from marina.events.labels import Label, Outcome, adopt, record
from marina.events.metrics import Metrics
from marina.releases.declarations import read_archive
from marina.releases.label_sets import write_label_set
from tests.families import code_health
from tests.marina.events.test_api import post, serving
from training.packaging.archive import build

CODES = ("10", "2583", "1140")
SPENDING = ("alimentation", "santé", "Voyages", "abonnements télécom")


def serve(
    database: Database,
    model: str,
    version: str,
    classes: Sequence[str] | None,
    *,
    declared: bool = True,
    truth: str = "",
) -> None:
    """Write that a version is served, and which classes it has; None: that is not known."""
    row = {"model": model, "version": version, "archive": "", "sha256": "0" * 64, "weight": 1.0, "input_share": 0.0}
    with database.writing() as connection:
        if declared:
            database.put(connection, DECLARATIONS, [row | {"declared_at": 1.0}])
        if classes is not None:
            write_label_set(connection, model, version, classes, truth)


def answer(database: Database, request_id: str, model: str = "codes", version: str = "1.0", instances: int = 1) -> None:
    row = {"request_id": request_id, "model": model, "version": version, "time": 1.0, "picked": True, "answer": "[]"}
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, [row | {"instance": at, "label": "x"} for at in range(instances)])


def send(database: Database, *labels: Label) -> list[Outcome]:
    return record(database, labels, 5.0)


def kept(database: Database) -> dict[str, str]:
    with database.reading() as connection:
        return dict(connection.execute(sa.select(LABELS.c.request_id, LABELS.c.label)).all())


@pytest.fixture
def served(database: Database) -> Database:
    """A database in which five models are served and have answered one request each, named for the model."""
    serve(database, "codes", "1.0", CODES)
    serve(database, "spending", "1.0", SPENDING)
    serve(database, "score", "1.0", ())
    serve(database, "older", "1.0", None)
    serve(database, "retired", "1.0", CODES, declared=False)
    for model in ("codes", "spending", "score", "older", "retired"):
        answer(database, model, model)
    return database


@pytest.mark.parametrize(
    ("model", "label", "nearest"),
    [
        ("codes", "2583.0", "2583"),
        ("codes", " 2583", "2583"),
        ("codes", "2583\n", "2583"),
        ("codes", "\u00a02583\u00a0", "2583"),
        ("codes", "258", "2583"),
        ("codes", "santé", None),
        ("codes", "\uff11\uff11\uff14\uff10", "1140"),  # full-width digits
        ("retired", "2583.00", "2583"),
        ("spending", "Alimentation", "alimentation"),
        ("spending", "VOYAGES", "Voyages"),
        ("spending", "sante", "santé"),
        ("spending", "sante\u0301", "santé"),  # the accent by itself
        ("spending", "alimentaton", "alimentation"),
        ("spending", "abonnement telecom", "abonnements télécom"),
        ("spending", "2583", None),
        ("spending", "null", None),
    ],
)
def test_a_label_that_is_no_class_is_not_kept_and_the_nearest_is_found(
    served: Database, model: str, label: str, nearest: str | None
) -> None:
    assert send(served, Label(model, label)) == ["unknown"]
    assert kept(served) == {}
    assert find_nearest(label, frozenset(CODES if model != "spending" else SPENDING)) == nearest


@pytest.mark.parametrize(
    ("model", "label"),
    [("codes", "2583"), ("spending", "santé"), ("retired", "10"), ("score", "0.7"), ("score", "high"), ("older", "x")],
)
def test_classes_are_kept_and_so_is_whatever_models_without_classes_are_sent(
    served: Database, model: str, label: str
) -> None:
    assert send(served, Label(model, label)) == ["recorded"]
    assert send(served, Label(model, label)) == ["duplicate"]
    assert kept(served) == {model: label}


@pytest.mark.parametrize(("text", "label"), [("2583", "2583"), ("2583.0", "2583.0"), ("-1e2", "-100.0")])
def test_a_number_is_no_class_whatever_its_digits(served: Database, text: str, label: str) -> None:
    body = f'{{"labels": [{{"request_id": "codes", "label": {text}}}, {{"request_id": "spending", "label": "santé"}}]}}'
    labels = read_labels(body.encode(), "s")
    assert (labels[0].label, labels[0].is_text) == (label, False)
    assert send(served, *labels) == ["unknown", "recorded"]
    assert send(served, Label("not there", "7", is_text=False)) == ["unknown"]


def test_of_a_batch_the_others_are_kept(served: Database) -> None:
    answer(served, "many", instances=3)
    labels = [Label("many", "10"), Label("many", "ten", 1), Label("many", "1140", 2), Label("many", "10", 3)]
    assert send(served, *labels) == ["recorded", "unknown", "recorded", "unanswered"]
    assert send(served, Label("many", "2583", 1), Label("many", "ten", 0)) == ["recorded", "unknown"]


@pytest.mark.parametrize("early", ["2583.0", "santé", "codes"])
def test_an_early_label_is_checked_when_its_answer_comes_and_counted(database: Database, early: str) -> None:
    serve(database, "codes", "1.0", CODES)
    assert send(database, Label("a", early, 0, "x"), Label("a", "2583", 0, "y"), Label("b", early)) == ["early"] * 3
    answer(database, "a")
    answer(database, "b")
    with database.writing() as connection:
        assert adopt(database, connection, [("a", 0), ("b", 0)], 9.0) == 1
    assert kept(database) == {"a": "2583"}
    with database.reading() as connection:
        assert connection.execute(sa.select(EARLY_LABELS)).all() == []
        assert "\nmarina_early_labels_unknown_total{} 2\n" in Metrics(0.0).text(connection, 10.0)


def test_a_trusted_label_that_is_no_class_does_not_take_anothers_place(served: Database) -> None:
    assert send(served, Label("codes", "2583", 0, "10.0.0.9")) == ["recorded"]
    assert send(served, Label("codes", "2583.0", 0, "feedback-1")) == ["unknown"]
    assert send(served, Label("codes", "10", 0, "feedback-1")) == ["recorded"]


def test_versions_with_other_classes_know_those_of_the_other_while_both_are_served(database: Database) -> None:
    serve(database, "codes", "1.0", ("10", "2583"))
    serve(database, "codes", "2.0", ("10", "1140"))
    serve(database, "codes", "0.9", ("900",), declared=False)
    for name, version in (("old", "1.0"), ("new", "2.0"), ("gone", "0.9")):
        answer(database, name, "codes", version)
    # What one version lacks makes its answer wrong: else a canary that lost a class would never be found out.
    assert send(database, Label("old", "1140"), Label("new", "2583")) == ["recorded", "recorded"]
    assert send(database, Label("old", "900"), Label("new", "900"), Label("gone", "900")) == [
        "unknown", "unknown", "recorded",
    ]  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.version == "2.0"))
    answer(database, "later", "codes", "1.0")
    answer(database, "late", "codes", "2.0")
    assert send(database, Label("later", "1140"), Label("late", "1140")) == ["unknown", "recorded"]


def test_another_archive_under_the_same_version_brings_its_own_classes(served: Database) -> None:
    assert send(served, Label("codes", "7")) == ["unknown"]
    serve(served, "codes", "1.0", ("7", "8"))
    assert send(served, Label("codes", "7")) == ["recorded"]


def test_one_id_of_two_models_may_have_a_class_of_either(served: Database) -> None:
    answer(served, "shared", "codes")
    answer(served, "shared", "spending")
    assert send(served, Label("shared", "santé"), Label("shared", "ten")) == ["recorded", "unknown"]


def test_every_label_is_told_what_was_expected(served: Database, database_url: str, tmp_path: Path) -> None:
    labels: list[dict[str, Any]] = [
        {"request_id": "codes", "label": "2583.0"},
        {"request_id": "spending", "label": "sante"},
        {"request_id": "score", "label": "0.7"},
        {"request_id": "codes", "label": 2583},
        {"request_id": "nowhere", "label": 2583},
        {"request_id": "codes", "label": "2583"},
    ]
    with serving(database_url, tmp_path) as (client, _):
        first = post(client, labels[0])
        assert first.status_code == 422
        error = first.json()["error"]
        assert (error["code"], error["field"], error["request_id"]) == ("unknown_label", "label", "q1")
        assert error["expected"] == "a class of codes 1.0 ('10', '1140', '2583')"
        assert error["received"] == "the string '2583.0'"
        assert error["message"].endswith('Send "2583" if that is meant.')
        all_of_them = post(client, {"labels": labels})
        assert all_of_them.status_code == 422
        body = all_of_them.json()
        assert body["outcomes"] == ["unknown", "unknown", "recorded", "unknown", "unknown", "recorded"]
        assert body["counts"] == {"unknown": 4, "recorded": 2}
        assert [(one["place"], one["nearest"]) for one in body["unknown"]] == [
            (0, "2583"), (1, "santé"), (3, "2583"), (4, "2583"),
        ]  # fmt: skip
        assert body["unknown"][1] == {
            "place": 1, "request_id": "spending", "instance": 0, "label": "sante", "model": "spending",
            "version": "1.0", "nearest": "santé",
        }  # fmt: skip
        assert body["error"]["field"] == "labels[0].label" and "need not be sent again" in body["error"]["message"]
        number = post(client, labels[4]).json()["error"]
        assert (number["expected"], number["received"]) == ("a string", "the number 2583")
        assert 'outcome="unknown"} 6\n' in client.get("/metrics").text
    assert (tmp_path / "api.log").read_text() == ""


def test_the_classes_of_an_archive_are_read_with_it(tmp_path: Path) -> None:
    made = {model: build(one, tmp_path) for model, one in code_health.releases().items()}
    assert {model: read_archive(one.path).labels for model, one in made.items()} == {
        model: tuple(one.contract.labels) for model, one in code_health.releases().items()
    }


def test_of_many_classes_some_are_named_and_a_thousand_labels_take_no_longer_than_their_transaction() -> None:
    many = frozenset(str(number) for number in range(10, 30_000, 10))
    assert known_classes.describe_classes(many).startswith("2999 of them, such as '10', '100', '1000', ")
    assert find_nearest("20570.0", many) == "20570"
    own = KnownClasses({("m", "1.0"): many}, frozenset({("m", "1.0")}))
    assert own.accepts([("m", "1.0")], "20570") and not own.accepts([("m", "1.0")], "20571")
    assert json.loads(json.dumps(sorted(own.of_model(("m", "1.0")))))[0] == "10"

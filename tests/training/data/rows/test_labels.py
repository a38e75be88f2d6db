import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_ROWS
from marina.database.tables import INPUTS, LABELS
from scripts import load_data
from training.data.rows.labels import import_labels

NOW = 1_795_000_000.0
PRODUCT = {"designation": "Lot de 3 romans", "description": "bon état"}


def send(database: Database, model: str, request_id: str, body: object, *labels: str, version: str = "1.0",
         source: str = "client-1") -> None:  # fmt: skip
    """Log a request, and the label of each of its instances."""
    sent = {"request_id": request_id, "model": model, "version": version, "time": NOW}
    with database.writing() as connection:
        kind = {"content_type": "application/json", "body": json.dumps(body).encode()}
        connection.execute(sa.insert(INPUTS), sent | kind)
        for instance, label in enumerate(labels):
            row = {"request_id": request_id, "instance": instance, "label": label, "time": NOW + 1, "source": source}
            connection.execute(sa.insert(LABELS), row)


def contents(database: Database) -> list[dict[str, object]]:
    with database.reading() as connection:
        return [json.loads(row.content) for row in connection.execute(sa.select(RAW_ROWS).order_by(RAW_ROWS.c.content))]


def test_labelled_requests_become_rows_once_and_what_was_redacted_is_a_bad_one(database: Database) -> None:
    assert import_labels(database, "catalog", NOW) == []
    send(database, "catalog", "a", PRODUCT, "10")
    send(database, "catalog", "a", PRODUCT, version="2.0")  # a shadow's copy
    send(database, "catalog", "b", {"instances": [{"designation": "Table"}, {"description": "x"}]}, "1560", "2403")
    send(database, "catalog", "c", PRODUCT)  # no one said what it is
    [done] = import_labels(database, "catalog", NOW)
    assert (done.rows, done.added, done.bad) == (3, 2, 1)
    said = [(row["designation"], row["prdtypecode"]) for row in contents(database)]
    assert sorted(said) == [("Lot de 3 romans", "10"), ("Table", "1560")]
    with database.reading() as connection:
        reasons = " ".join(connection.execute(sa.select(BAD_ROWS.c.reason)).scalars())
    assert "designation" in reasons or "description" in reasons
    [again] = import_labels(database, "catalog", NOW)
    assert again.added == 0 and len(contents(database)) == 2
    send(database, "catalog", "d", {"designation": "Vase"}, "2403")
    [more] = import_labels(database, "catalog", NOW)
    assert (more.added, more.repeated) == (1, 2)


def test_where_some_have_tokens_for_labels_only_theirs_and_the_consoles_are_trained_on(database: Database) -> None:
    for number, source in enumerate(("client-1", "127.0.0.1", "feedback-1", "feedback-console:ann")):
        send(database, "catalog", source, {"designation": f"livre {number}"}, "10", source=source)
    [done] = import_labels(database, "catalog", NOW, trusted_only=True)
    assert done.added == 2 and {row["designation"] for row in contents(database)} == {"livre 2", "livre 3"}
    [more] = import_labels(database, "catalog", NOW)
    assert (more.added, more.repeated) == (2, 2)


def test_labels_of_transactions_need_whose_they_are(database: Database) -> None:
    one = {"label": "CARTE 12/03 CARREFOUR", "amount": -42.5, "date": "2025-03-13", "user": "u", "account": "a"}
    send(database, "budget_categorizer", "a", {"instances": [one, {**one, "date": "2025-03-14"}]}, "groceries", "fuel")
    [done] = import_labels(database, "budget", NOW)
    assert (done.added, done.bad) == (2, 0)
    assert {row["category"] for row in contents(database)} == {"groceries", "fuel"}


def test_a_release_has_the_labels_that_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    for number in range(8):
        send(database, "catalog", f"r{number}", {"designation": f"livre {number}"}, "10")
    database.close()
    monkeypatch.setenv("MARINA_FEEDBACK_TOKENS", f'["{"t" * 40}"]')
    assert load_data.main(["release", "--family", "catalog"]) == 1
    assert "rows added" not in capsys.readouterr().out
    monkeypatch.delenv("MARINA_FEEDBACK_TOKENS")
    assert load_data.main(["release", "--family", "catalog"]) == 0
    assert "8 rows added" in (said := capsys.readouterr().out) and "2 of 8 visible" in said

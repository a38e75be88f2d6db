"""What the categorize route tells the guard of a flag: an outcome for each answer, and what feedback says of it."""

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from marina.database.flag_tables import FLAG_OUTCOMES, FLAG_TRUTHS
from marina.products.flags import guard
from marina.products.flags.table import set_flag
from tests.marina.products.conftest import Products

NAME = "ml_categorization"
BOUGHT = {"amount": -42.5, "date": "2026-03-13"}


@pytest.fixture
def guarded(products: Products) -> Iterator[Products]:
    """The interface while a guard rolls the hybrid out to a fifth of the users."""
    with products.database.writing() as connection:
        set_flag(connection, NAME, "ann", "begin anew", time.time(), share=0.0)
        guard.start(connection, NAME, "ann", "hybrid beside rules", time.time())
    products.context.flags.refresh()
    yield products
    with products.database.writing() as connection:
        set_flag(connection, NAME, "ann", "as before", time.time(), share=1.0)
    products.context.flags.refresh()


def test_each_answer_is_an_outcome_of_its_arm_and_feedback_finds_it(guarded: Products) -> None:
    first = {"label": "CARTE 12/03 CARREFOUR CITY PARIS", **BOUGHT}
    others = {"label": "PAIEMENT XQZ 77", **BOUGHT}
    said = {}
    for number in range(12):
        body = {"transactions": [{**one, "user": f"household-{number}"} for one in (first, others)]}
        answer = guarded.client.post("/transactions/categorize", json=body)
        assert answer.status_code == 200, answer.text
        said[number] = answer.json()
    one = said[0]["transactions"][0]
    assert one["source"] == "rule" and "failed" not in one
    truth = {
        "request_id": one["request_id"], "instance": one["instance"], "source": "rule",
        "predicted": one["label"], "label": one["label"],
    }  # fmt: skip
    assert guarded.client.post("/transactions/feedback", json=truth).json()["outcome"] == "recorded"
    guarded.context.outcomes._flush()
    with guarded.database.reading() as connection:
        rows = connection.execute(sa.select(FLAG_OUTCOMES)).all()
        truths = connection.execute(sa.select(FLAG_TRUTHS)).all()
    hybrid = [said[number]["served"]["flags"][NAME] for number in said]
    assert len(rows) == 24 and len({row.item for row in rows}) == 24  # a cached answer is an outcome as well
    assert sum(row.arm for row in rows) == 2 * sum(hybrid) and 0 < sum(hybrid) < 12
    assert not any(row.error for row in rows)
    [known] = truths
    assert known.correct and known.item in {row.item for row in rows}

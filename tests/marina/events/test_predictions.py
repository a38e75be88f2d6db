import json
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import PREDICTIONS
from marina.events.predictions import read_prediction

ROW = {"request_id": "r", "model": "m", "version": "1", "instance": 0, "time": 1.0, "picked": True, "answer": "{}"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"label": "a", "probability": 0.5}, {"label": "b", "probability": 0.4}], ("a", 0.5, None)),
        ({"value": 3, "low": 1}, (None, None, 3.0)),
        ({"label": "odd", "confidence": 0.25, "value": 0.5}, ("odd", 0.25, 0.5)),
        ({"label": "a", "probability": None, "confidence": 0.25}, ("a", 0.25, None)),
        ({"label": 7, "value": True}, (None, None, None)),
        ([], (None, None, None)),
        (["yes"], (None, None, None)),
        ("words", (None, None, None)),
        (None, (None, None, None)),
        ({"label": "a\0b" + "c" * 300}, ("ab" + "c" * 254, None, None)),
        (json.loads(r'{"label": "\ud800", "value": 1e999, "confidence": NaN}'), ("?", None, None)),
        ({"value": 10**400}, (None, None, None)),
    ],
)
def test_a_prediction_says_what_any_database_takes(said: Any, expected: Any, database: Database) -> None:
    found = read_prediction(said)
    assert found == expected
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), ROW | found._asdict())

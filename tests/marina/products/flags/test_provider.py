"""Flags as processes read them: by OpenFeature, and straight from memory."""

import functools
import logging
import time
import timeit
from pathlib import Path

import pytest
import sqlalchemy as sa
from openfeature.evaluation_context import EvaluationContext

from marina.database.connection import Database
from marina.database.flag_tables import FLAGS
from marina.products.flags.openfeature_provider import LOGGER, Throttle, connect
from marina.products.flags.provider import Flags
from marina.products.flags.table import DEFAULTS, Flag, FlagError, describe, history, read_flags, set_flag
from marina.releases import ledger

EIGHT = {
    "auto_categorization_rules": True,
    "ml_api_cache": True,
    "ml_categorization": False,
    "anomaly_detection": False,
    "ab_testing": False,
    "budget_predictions": False,
    "smart_recommendations": False,
    "predictive_alerts": False,
}


def change(database: Database, name: str, share: float, *users: str, why: str = "a trial", new: bool = False) -> None:
    with database.writing() as connection:
        set_flag(connection, name, "ann", why, 5.0, share=share, users=users or None, new=new)


def of(*flags: Flag) -> Flags:
    return Flags(lambda: {flag.name: flag for flag in flags})


def test_rules_and_cache_are_on_and_the_rest_is_off_until_someone_says_otherwise(database: Database) -> None:
    assert Flags.of(database).values("user-1") == EIGHT
    assert {name: share == 1 for name, share in DEFAULTS.items()} == EIGHT


def test_each_change_is_one_row_of_the_ledger_with_who_and_why(database: Database) -> None:
    change(database, "ml_categorization", 0.2, why="a fifth of them")
    change(database, "ml_categorization", 0.2, why="the same again")
    change(database, "ml_categorization", 0.2, "user-1")
    with database.reading() as connection:
        assert ledger.verify(connection) == []
        rows = list(history(connection, "ml_categorization"))
        assert list(history(connection)) == rows == list(ledger.entries(connection, newest_first=True))
    assert [(row.who, row.said["from"], row.said["to"], row.said["why"]) for row in rows] == [
        ("ann", 0.2, 0.2, "a trial"),
        ("ann", 0.0, 0.2, "a fifth of them"),
    ]
    assert "ml_categorization: 0 % to 20 %, by ann: a fifth of them" in describe(rows[1])


def test_a_value_comes_with_its_reason(database: Database) -> None:
    change(database, "ml_categorization", 0.5, "user-1")
    change(database, "predictive_alerts", 0.0, "user-1")
    change(database, "predictive_alerts", 1.0)
    change(database, "ml_api_cache", 0.0)
    flags = Flags.of(database)
    asked = [("ab_testing", ""), ("predictive_alerts", ""), ("ml_api_cache", "u"), ("ml_categorization", "user-1")]
    asked += [("ml_categorization", ""), ("ml_categorization", "user-2")]
    found = [flags.evaluate(*one) for one in asked]
    assert [one.reason for one in found] == ["DEFAULT", "STATIC", "DISABLED", "TARGETING_MATCH", "DEFAULT", "SPLIT"]
    assert [one.value for one in found[:5]] == [False, True, False, True, False]
    assert found[3].why == "a trial"


def test_processes_follow_a_change_and_keep_what_they_know_while_the_database_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "marina.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    told: list[str] = []

    def read() -> dict[str, Flag]:
        with database.reading() as connection:
            return read_flags(connection)

    flags = Flags(read, told.append)
    flags.start(0.05)
    try:
        change(database, "ab_testing", 1.0)
        end = time.monotonic() + 20
        while not flags.value("ab_testing") and time.monotonic() < end:
            time.sleep(0.02)
        assert flags.value("ab_testing")
        path.rename(tmp_path / "elsewhere")
        while not told and time.monotonic() < end:
            time.sleep(0.02)
        assert flags.value("ab_testing")
        (tmp_path / "elsewhere").rename(path)
        while len(told) < 2 and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        flags.stop()
        database.close()
    assert "unavailable" in told[0] and "again" in told[1]


def test_open_feature_answers_from_the_same_table(database: Database) -> None:
    flags = Flags.of(database)
    client = connect(flags, "one")
    assert client.get_boolean_value("ml_categorization", True) is False
    change(database, "ml_categorization", 0.5, "user-1")
    flags.refresh()
    details = client.get_boolean_details("ml_categorization", False, EvaluationContext("user-1"))
    assert (details.value, details.variant, details.reason) == (True, "on", "TARGETING_MATCH")
    for number in range(50):
        key = f"user-{number}"
        value = client.get_boolean_value("ml_categorization", False, EvaluationContext(key))
        assert value == flags.value("ml_categorization", key)


def test_an_unknown_flag_is_the_default_and_is_logged_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(Flags.of(database), "two")
    with caplog.at_level(logging.DEBUG, LOGGER):
        for _ in range(20):
            assert client.get_boolean_value("ml_categorisation", True) is True
            assert client.get_string_value("ml_categorization", "neither") == "neither"
    assert len(caplog.records) <= 3
    assert sum(isinstance(one, Throttle) for one in logging.getLogger(LOGGER).filters) == 1


def test_reading_directly_takes_less_than_two_microseconds() -> None:
    flags = of(Flag("rules", 1.0), Flag("hybrid", 0.2, changed_at=1.0))
    for name, key in (("rules", "user-17"), ("hybrid", "user-17")):
        flags.value(name, key)
        read = functools.partial(flags.value, name, key)
        best = min(timeit.repeat(read, timer=time.process_time, number=5_000, repeat=9)) / 5_000
        assert best < 2e-6, f"{name}: {1e6 * best:.2f} µs"


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("nothing_of_ours", {"share": 1.0}, "expected one of ab_testing"),
        ("Bad-Name", {"share": 1.0, "new": True}, "1 to 64 of a-z"),
        ("ab_testing", {"share": 1.1}, "thousandths from 0 to 1"),
        ("ab_testing", {"share": 0.00051}, "thousandths from 0 to 1"),
        ("ab_testing", {"share": float("nan")}, "thousandths from 0 to 1"),
        ("ab_testing", {"users": [""]}, "users: expected"),
        ("ab_testing", {"users": ["u"] * 1001}, "users: expected"),
        ("ab_testing", {"share": 1.0, "why": " "}, "why: expected"),
        ("ab_testing", {"share": 1.0, "who": "w" * 129}, "who: expected"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    database: Database, name: str, wrong: dict[str, object], said: str
) -> None:
    given = {"who": "ann", "why": "a trial", **wrong}
    with database.writing() as connection, pytest.raises(FlagError, match=said):
        set_flag(connection, name, now=1.0, **given)  # type: ignore[arg-type]
    with database.reading() as connection:
        assert not connection.execute(sa.select(FLAGS)).all() and not list(history(connection))


def test_a_flag_of_ones_own_is_a_flag_like_the_others(database: Database) -> None:
    change(database, "new_page", 0.25, new=True)
    flags = Flags.of(database)
    assert flags.values("u").keys() == {*EIGHT, "new_page"}
    with pytest.raises(FlagError, match="No flag 'newpage'"):
        flags.value("newpage")

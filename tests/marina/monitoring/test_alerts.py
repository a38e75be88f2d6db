import threading
from dataclasses import replace

import pytest

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.monitoring import alerts
from marina.monitoring.alerts import Finding
from marina.releases import ledger

FOUND = Finding(
    model="signflow", version="1.0", kind="drift", name="predicted_labels", level="warning", what="labels moved",
    since=50.0, effect=0.1, evidence=9.0, needed=8.5, harm="2 to 4 points", link="drift.html",
)  # fmt: skip


def test_what_is_found_again_updates_the_open_alert(database: Database) -> None:
    first = alerts.open_alert(database, FOUND, 100.0)
    again = alerts.open_alert(database, replace(FOUND, level="alert", since=70.0, effect=0.2), 200.0)
    other = alerts.open_alert(database, replace(FOUND, version="2.0"), 200.0)
    assert first == again != other
    with database.reading() as connection:
        one, actions = alerts.read(connection, first)
        assert [found.id for found in alerts.open_alerts(connection)] == [first, other]
    assert (one.level, one.since, one.effect, one.opened_at, one.updated_at) == ("alert", 50.0, 0.2, 100.0, 200.0)
    assert one.state == "open" and actions == []


def test_servers_that_find_the_same_at_once_open_one_alert(database: Database) -> None:
    threads = [threading.Thread(target=alerts.open_alert, args=(database, FOUND, 100.0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert len(alerts.latest(connection, 20)) == 1


@pytest.mark.parametrize(("kind", "ends"), [("drift", True), ("rule", False)])
def test_a_decision_is_in_the_ledger_and_ends_what_a_detector_found(database: Database, kind: str, ends: bool) -> None:
    number = alerts.open_alert(database, replace(FOUND, kind=kind), 100.0)
    alerts.acknowledge(database, number, "ada", "on it", 110.0)
    with database.reading() as connection:
        assert [one.state for one in alerts.undecided(connection, "signflow")] == ["acknowledged"]
        assert alerts.undecided(connection, "catalog") == []
    alerts.decide(database, number, "ada", "retrain", "new cameras", 120.0)
    with database.reading() as connection:
        one, actions = alerts.read(connection, number)
        seen, row = ledger.entries(connection)
        assert ledger.verify(connection) == [] and alerts.undecided(connection, "signflow") == []
    assert (one.state, one.resolved_at) == ("decided", 120.0 if ends else None)
    assert [(act.who, act.action, act.note) for act in actions] == [
        ("ada", "acknowledge", "on it"), ("ada", "retrain", "new cameras")
    ]  # fmt: skip
    assert (seen.action, seen.said["why"]) == ("acknowledge alert", "on it")
    assert (row.who, row.model, row.said["decision"], row.said["alert"]) == ("ada", "signflow", "retrain", number)
    assert (alerts.open_alert(database, replace(FOUND, kind=kind), 130.0) == number) is not ends
    with pytest.raises(MarinaError, match="decided already"):
        alerts.decide(database, number, "ada", "nothing", "twice", 140.0)


def test_a_decision_needs_a_reason_an_alert_and_a_known_action(database: Database) -> None:
    number = alerts.open_alert(database, FOUND, 100.0)
    for alert, action, why, words in (
        (number, "nothing", " ", "needs a reason"),
        (number, "panic", "x", "no decision"),
        (99, "nothing", "x", "no alert 99"),
    ):
        with pytest.raises(MarinaError, match=words):
            alerts.decide(database, alert, "ada", action, why, 120.0)
    with database.reading() as connection:
        assert list(ledger.entries(connection)) == []


def test_people_are_told_of_what_is_new_more_urgent_or_over_and_of_nothing_twice(database: Database) -> None:
    def unsent() -> list[str]:
        with database.reading() as connection:
            found = alerts.unsent(connection)
        alerts.mark_sent(database, found)
        return [one.level if one.resolved_at is None else "over" for one in found]

    number = alerts.open_alert(database, FOUND, 100.0)
    assert (unsent(), unsent()) == (["warning"], [])
    alerts.open_alert(database, replace(FOUND, level="critical"), 110.0)
    assert (unsent(), unsent()) == (["critical"], [])
    alerts.open_alert(database, FOUND, 120.0)
    assert unsent() == []
    alerts.resolve_alert(database, number, 130.0, "the camera is back")
    assert (unsent(), unsent()) == (["over"], [])
    with database.reading() as connection:
        one, _ = alerts.read(connection, number)
    assert one.state == "resolved" and one.what.endswith("ended: the camera is back")


def test_what_is_longer_than_its_column_is_cut(database: Database) -> None:
    number = alerts.open_alert(database, replace(FOUND, what="é" * 5000, model="m" * 500, link="a\0b"), 1.0)
    with database.reading() as connection:
        one, _ = alerts.read(connection, number)
    assert (len(one.what), len(one.model), one.link) == (1000, 128, "ab")

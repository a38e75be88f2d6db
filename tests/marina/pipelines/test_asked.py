"""What people ask for is trained at the loop's next look, once, and they see what came of it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.monitoring import alerts, requested_trainings
from marina.monitoring.requested_trainings import Progress
from marina.pipelines import trainings
from marina.pipelines.loop import LeaseLostError, Loop, UnknownFamilyError
from marina.pipelines.reasons import Reason
from marina.pipelines.step_list import Family
from tests.marina.console.browser import finding
from tests.marina.pipelines.test_loop import SCRIPT, calls, loop_of, scripts
from tests.marina.rollout import releases

__all__ = ["calls", "scripts"]

DAY = ["auto_train --family catalog", "auto_promote --model catalog --version 2.0 --data kept.csv --who loop"]
Calls = Callable[[], list[str]]


def looking(database: Database, scripts: Path) -> Loop:
    """Return a loop that has no clock to wait for: only what is asked for is due."""
    loop = loop_of(database, scripts)
    loop.clock = time.time
    loop.family_of = lambda model: {"catalog": "catalog", "budget_categorizer": "budget"}[model]
    return loop


def came_of(database: Database, alert: int) -> Progress:
    with database.reading() as connection:
        found = requested_trainings.of_alert(connection, alert, time.time())
    assert found is not None
    return found


def test_an_alert_that_is_answered_so_is_trained_at_the_next_look_and_only_then(
    database: Database, scripts: Path, calls: Calls
) -> None:
    alert = alerts.open_alert(database, finding(model="catalog"), time.time())
    loop = looking(database, scripts)
    assert loop.step(asked=True) == [] and calls() == [], "no one has decided"
    with database.reading() as connection:
        assert requested_trainings.of_alert(connection, alert, time.time()) is None
    alerts.decide(database, alert, "ada", "retrain", "the world has changed", time.time())
    assert (came_of(database, alert).state, came_of(database, alert).attended) == ("waiting", True)
    assert loop.step(asked=True) == [] and calls() == DAY
    found = came_of(database, alert)
    assert found.state == "done"
    (version,) = found.versions
    assert (version.model, version.version, version.outcome) == ("catalog", "2.0", "promote")
    assert loop.step(asked=True) == [] and calls() == []


def test_without_a_loop_the_page_can_say_so(database: Database, scripts: Path) -> None:
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", time.time())
    assert not came_of(database, number).attended
    loop = looking(database, scripts)
    with database.writing() as connection:
        assert loop.lease.take(connection, time.time())
    assert came_of(database, number).attended
    with database.writing() as connection:
        loop.lease.give_back(connection)
    assert not came_of(database, number).attended


def test_one_that_fails_says_why_and_is_tried_again(database: Database, scripts: Path, calls: Calls) -> None:
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", time.time())
    (scripts / "auto_train.exit").write_text("1")
    assert looking(database, scripts).step(asked=True) == [f"asked {number} catalog"]
    found = came_of(database, number)
    assert (found.state, found.again) == ("failed", True) and "words before" in found.reason
    (scripts / "auto_train.exit").write_text("4")
    loop = looking(database, scripts)
    loop.pause_s = 0.0
    calls()
    loop.step(asked=True)
    assert (came_of(database, number).again, calls()) == (False, DAY[:1]), "bad data is not tried again"
    loop.step(asked=True)
    assert calls() == []


def test_killed_while_it_trains_and_started_again_it_goes_on(database: Database, scripts: Path, calls: Calls) -> None:
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", time.time())
    (scripts / "auto_train.wait").write_text("30")
    first = looking(database, scripts)
    first.stop = lambda: came_of(database, number).state == "training"
    with pytest.raises(LeaseLostError):
        first.step(asked=True)
    assert came_of(database, number).state == "training"
    (scripts / "auto_train.wait").unlink()
    calls()
    assert looking(database, scripts).step(asked=True) == [] and calls() == DAY
    assert came_of(database, number).state == "done"


def test_what_another_training_has_answered_already_is_not_trained_again(
    database: Database, scripts: Path, calls: Calls
) -> None:
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", time.time() - 5)
    trainings.begin(database, "key", "catalog", "d", "c", Reason("data", "the data has changed"), "3.0", time.time())
    result = {"trained": [{"model": "catalog", "version": "3.0"}]}
    trainings.end(database, "key", True, result, time.time())
    assert looking(database, scripts).step(asked=True) == [] and calls() == []
    found = came_of(database, number)
    assert (found.state, [one.version for one in found.versions]) == ("done", ["3.0"])


def test_a_training_by_hand_is_seen_too(database: Database) -> None:
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", time.time() - 5)
    reason = Reason("drift", f"a person decided to retrain on alert {number}")
    trainings.begin(database, "key", "catalog", "d", "c", reason, "3.0", time.time())
    assert came_of(database, number).state == "training"
    trainings.end(database, "key", False, {"tail": "no space left"}, time.time())
    assert (came_of(database, number).state, came_of(database, number).reason) == ("failed", "no space left")


def test_what_no_family_trains_is_refused_with_the_reason(database: Database, scripts: Path, calls: Calls) -> None:
    number = alerts.request_training(database, "echo", "ada", "why not", "k1", time.time())

    def of(model: str) -> str:
        raise error(f"{model} is trained nowhere")

    loop = looking(database, scripts)
    loop.family_of = of
    error: type[MarinaError] = MarinaError
    loop.step(asked=True)
    assert came_of(database, number).state == "waiting", "what cannot be said now may be said later"
    error = UnknownFamilyError
    loop.step(asked=True)
    found = came_of(database, number)
    assert (found.state, found.again, calls()) == ("failed", False, []) and "echo is trained nowhere" in found.reason


def test_rules_are_trained_alone_and_go_to_a_canary(database: Database, scripts: Path, calls: Calls) -> None:
    trained = '{"trained": [{"model": "budget_categorizer", "version": "2.0"}]}'
    (scripts / "auto_train.py").write_text(SCRIPT.format(result=trained))
    (scripts / "deploy_canary.py").write_text(SCRIPT.format(result='{"outcome": "canary", "rollout": 1}'))
    releases.serve(database, "budget_categorizer")
    number = alerts.request_training(database, "budget_categorizer", "ada", "leisure", "rules 3", time.time(), rules=3)
    (scripts / "deploy_canary.exit").write_text("6")
    loop = looking(database, scripts)
    loop.families = [Family("budget")]
    assert loop.step(asked=True) == []
    train = "auto_train --family budget --rules 3"
    deploy = "deploy_canary --model budget_categorizer --version 2.0 --who ada --once"
    assert calls() == [train, deploy] and came_of(database, number).state == "deciding"
    (scripts / "deploy_canary.exit").unlink()
    loop.clock = lambda: time.time() + 601
    assert loop.step(asked=True) == [] and calls() == [deploy]
    with database.reading() as connection:
        found = requested_trainings.of_rules(connection, "budget_categorizer", 3, time.time())
        assert requested_trainings.of_rules(connection, "budget_categorizer", 30, time.time()) is None
    assert found is not None and (found.state, found.versions[0].rollout) == ("done", 1)

"""What was asked for is seen on its page: that it waits and for what, that it trains, failed, or what it gave."""

import json
import time
from typing import Any

import sqlalchemy as sa

from marina.console import people, rule_book
from marina.database.loop_tables import LOOP_STEPS
from marina.database.tables import ALERT_ACTIONS, LEASES
from marina.monitoring import requested_trainings
from marina.monitoring.loop_metrics import LAST_STEP
from tests.marina.console.browser import Browser, Console
from tests.marina.rollout import releases


def _step(console: Console, alert: int, step: str, state: str, result: Any = None, note: str = "") -> None:
    row = {
        "run": f"asked {alert}", "family": "catalog", "step": step, "state": state, "attempts": 3, "exit": 0,
        "started_at": time.time(), "ended_at": None if state == "running" else time.time(),
        "result": json.dumps(result or {}), "note": note,
    }  # fmt: skip
    with console.database.writing() as connection:
        console.database.put(connection, LOOP_STEPS, [row])


def test_an_alerts_page_says_what_came_of_its_training(console: Console) -> None:
    mine = console.browser("operator")
    page = f"/console/alerts/{console.alert}"
    assert "The training" not in mine.get(page).text
    mine.submit(page, f"{page}/decide", action="retrain", why="the world has changed")
    waits = mine.get(page).text
    assert "waiting for the loop" in waits and "python scripts/loop.py asked" in waits
    with console.database.writing() as connection:
        connection.execute(sa.insert(LEASES), {"name": "loop", "holder": "a", "until": time.time()})
    assert "python scripts/loop.py asked" not in mine.get(page).text
    _step(console, console.alert, "train", "running")
    part = mine.get(f"{page}/training").text
    assert "trains" in part and "<html" not in part and 'hx-trigger="every 5s"' in part
    _step(console, console.alert, "train", "failed", note="no space <left>")
    assert "no space &lt;left&gt;" in mine.get(page).text
    _step(console, console.alert, "train", "done", {"trained": [{"model": "sums", "version": "2.0"}]})
    said = {"outcome": "promote", "why": "it errs less", "rollout": 1}
    _step(console, console.alert, "promote sums", "done", said)
    _step(console, console.alert, LAST_STEP, "done")
    done = mine.get(page).text
    assert "/console/registry/sums/2.0" in done and "it errs less" in done and "/console/rollouts/1" in done
    assert 'id="trained-1"' in done and 'id="rollout-1"' in done, "what is swapped keeps the focus by id"
    bearer = {"authorization": f"Bearer {console.tokens['viewer']}"}
    told = Browser(console.app).get(f"/api/trigger-retrain/{console.alert}", headers=bearer).json()
    assert (told["state"], told["versions"][0]["rollout"]) == ("done", 1)
    assert Browser(console.app).get("/api/trigger-retrain/999", headers=bearer).status_code == 404


def test_rules_are_released_once_and_again_after_a_failure(console: Console) -> None:
    releases.serve(console.database, rule_book.MODEL)
    mine, where = console.browser("operator"), "/console/rules/history"
    assert "/console/rules/release" not in mine.get(where).text, "the project's file needs no release"
    who = people.Person("ada", "operator", 1.0, "test", None, 0.0)
    assert rule_book.save(console.database, rule_book.FILE.read_text(), who, "books", time.time(), 0) == 1
    held = {"csrf": mine.token(where, "/console/rules/release"), "number": "1", "why": "books are leisure"}
    assert mine.request("POST", "/console/rules/release", data=held).status_code == 303
    page = mine.get(where).text
    assert "waiting for the loop" in page and "/console/rules/release" not in page
    again = mine.request("POST", "/console/rules/release", data=held)
    assert again.status_code == 409 and "being released already" in again.text
    number = console.alert + 1
    _step(console, number, "train", "failed", note="too few rows")
    assert "too few rows" in mine.get(where).text
    assert mine.request("POST", "/console/rules/release", data=held).status_code == 303
    assert [row.action for row in console.rows()].count("release rules") == 2
    assert mine.request("POST", "/console/rules/release", data={**held, "number": "0"}).status_code == 409


def _pending(console: Console) -> list[tuple[int, bool]]:
    with console.database.reading() as connection:
        return [(one.alert, begun) for one, begun in requested_trainings.pending(connection, time.time())]


def test_what_was_begun_goes_on_however_old_and_what_was_not_is_given_up(console: Console) -> None:
    mine = console.browser("operator")
    page = f"/console/alerts/{console.alert}"
    mine.submit(page, f"{page}/decide", action="retrain", why="the world has changed")
    assert _pending(console) == [(console.alert, False)]
    with console.database.writing() as connection:
        connection.execute(sa.update(ALERT_ACTIONS).values(time=time.time() - requested_trainings.DAYS_S - 60))
    late = mine.get(f"{page}/training").text
    assert _pending(console) == [] and "not begun within 30 days; ask again" in late and "hx-trigger" not in late
    _step(console, console.alert, "train", "waiting", note="no room")
    assert _pending(console) == [(console.alert, True)] and "no room" in mine.get(f"{page}/training").text
    _step(console, console.alert, LAST_STEP, "done")
    assert _pending(console) == []


def test_a_decision_that_waits_is_taken_though_another_models_failed(console: Console) -> None:
    mine = console.browser("operator")
    page = f"/console/alerts/{console.alert}"
    mine.submit(page, f"{page}/decide", action="retrain", why="the world has changed")
    trained = [{"model": "sums", "version": "2.0"}, {"model": "echo", "version": "2.0"}]
    _step(console, console.alert, "train", "done", {"trained": trained})
    _step(console, console.alert, "promote echo", "failed", note="no <data>")
    assert _pending(console) == [(console.alert, True)], "the other one's decision has not begun"
    assert "being decided" in mine.get(f"{page}/training").text
    _step(console, console.alert, "promote sums", "waiting", note="a rollout is open")
    part = mine.get(f"{page}/training").text
    assert _pending(console) == [(console.alert, True)]
    assert "being decided" in part and "a rollout is open" in part and "no &lt;data&gt;" in part
    _step(console, console.alert, "promote sums", "done", {"outcome": "promote"})
    part = mine.get(f"{page}/training").text
    assert _pending(console) == [] and "tried again" not in part and "no &lt;data&gt;" in part

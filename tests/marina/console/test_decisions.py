"""What people decide: one row of the ledger each, once or not at all, and never two at once."""

import json
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marina.console import people
from marina.database.connection import Database
from marina.monitoring import alerts
from marina.releases import ledger
from marina.settings import console_token
from tests.marina.console.browser import Browser, Console, finding
from tests.marina.rollout import releases

STORY = ("pause", "resume", "approve", "abort")


def _last(console: Console) -> tuple[str, str, str]:
    row = console.rows()[-1]
    return row.who, row.action, str(json.loads(row.details).get("why"))


def test_each_decision_says_who_and_why(console: Console) -> None:
    mine = console.browser("operator")
    page = "/console/rollouts/1"
    assert mine.submit(page, f"{page}/pause", why="a look first").headers["location"] == page
    assert _last(console) == ("operator-one", "pause", "paused by operator-one: a look first")
    assert mine.submit(page, f"{page}/resume", why="fine").status_code == 303
    assert _last(console) == ("operator-one", "resume", "resumed by operator-one: fine")
    alert = f"/console/alerts/{console.alert}"
    mine.submit(alert, f"{alert}/acknowledge", why="")
    assert _last(console) == ("operator-one", "acknowledge alert", "")
    mine.submit(alert, f"{alert}/decide", action="retrain", why="new cameras")
    assert _last(console) == ("operator-one", "decide alert", "new cameras")
    said = json.loads(console.rows()[-1].details)
    assert (said["evidence"], said["needed"], said["decision"]) == (12.0, 9.0, "retrain")
    mine.submit("/console/models/sums?warning=0.05", "/console/models/sums/thresholds", warning="0.05", why="noisy")
    assert _last(console) == ("operator-one", "set drift", "noisy")
    mine.submit("/console/models/sums", "/console/models/sums/roll-back", why="complaints")
    assert _last(console)[:2] == ("operator-one", "abort")
    assert "operator-one: complaints" in mine.get(page).text


def test_a_page_of_a_rollout_that_has_ended_does_not_roll_back_the_next(console: Console) -> None:
    mine, page = console.browser("operator"), "/console/rollouts/1"
    held = {"csrf": mine.token(page, f"{page}/roll-back"), "why": "complaints"}
    mine.submit(page, f"{page}/abort", why="lunch")
    releases.Releases(console.database).run(2)
    assert releases.begin(console.database).id == 2
    late = mine.request("POST", f"{page}/roll-back", data=held)
    assert late.status_code == 409 and "rollout 1 has ended" in late.text
    assert releases.latest(console.database).phase == "deploying"


def test_two_people_have_to_approve_and_the_one_who_started_is_neither(console: Console) -> None:
    page, action = "/console/rollouts/1", "/console/rollouts/1/approve"
    console.tokens["ann"] = people.add(console.database, "ann", "approver", "test", 1.0)  # started it
    console.tokens["ben"] = people.add(console.database, "ben", "approver", "test", 1.0)
    refused = console.browser("ann").submit(page, action, why="mine")
    assert refused.status_code == 409 and "two others have to approve" in refused.text
    assert console.browser("approver").submit(page, action, why="good").status_code == 303
    assert console.browser("approver").submit(page, action, why="again").status_code == 409
    assert "missing: 1" in console.browser("viewer").get(page).text
    assert console.browser("ben").submit(page, action, why="good").status_code == 303
    assert [row.who for row in console.rows() if row.action == "approve"] == ["approver-one", "ben"]


def test_a_request_to_retrain_is_made_once_for_a_form(console: Console) -> None:
    mine = console.browser("operator")
    action = "/console/models/sums/retrain"
    token = mine.token("/console/models/sums", action)
    first, second = (mine.request("POST", action, data={"csrf": token, "why": "labels"}) for _ in range(2))
    assert first.headers["location"] == second.headers["location"] == f"/console/alerts/{console.alert + 1}"
    assert [row.action for row in console.rows()].count("trigger retrain") == 1
    with console.database.reading() as connection:
        one, acts = alerts.read(connection, console.alert + 1)
    assert (one.state, [act.action for act in acts]) == ("decided", ["retrain"])


def test_the_control_api_does_what_the_pages_do(console: Console) -> None:
    bearer = {"authorization": f"Bearer {console.tokens['operator']}"}
    caller = Browser(console.app)
    listed = caller.get("/api/alerts", headers=bearer).json()
    assert [one["id"] for one in listed["alerts"]] == [console.alert]
    seen = caller.request("POST", f"/api/alerts/{console.alert}/acknowledge", headers=bearer)
    assert seen.json() == {"alert": console.alert, "state": "acknowledged", "by": "operator-one"}
    same = {**bearer, "idempotency-key": "week-12"}
    asked = [
        caller.request("POST", "/api/trigger-retrain", headers=same, json={"model": "sums", "reason": "labels"})
        for _ in range(2)
    ]
    assert [one.status_code for one in asked] == [202, 202] and asked[0].json() == asked[1].json()
    back = caller.request("POST", "/api/rollback-model", headers=bearer, json={"model": "sums", "reason": "worse"})
    assert back.json()["phase"] == "aborting"
    refused = caller.request("POST", "/api/rollouts/sums/pause", headers=bearer, json={"reason": "late"})
    assert refused.status_code == 409 and set(refused.json()["error"]) == {"code", "message", "request_id"}
    assert [row.action for row in console.rows()][-3:] == ["acknowledge alert", "trigger retrain", "abort"]


def test_openapi_names_the_control_api(console: Console) -> None:
    found = Browser(console.app).get("/console/openapi.json").json()["paths"]
    assert set(found) >= {
        "/api/trigger-retrain", "/api/rollback-model", "/api/alerts", "/api/alerts/{alert}/acknowledge"
    }  # fmt: skip


@settings(
    max_examples=6, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(actions=st.lists(st.tuples(st.sampled_from(STORY), st.sampled_from(["operator", "approver"])), max_size=6))
def test_any_sequence_of_actions_leaves_one_row_each(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, str]]
) -> None:
    console = Console(tmp_path_factory.mktemp("story"))
    browsers = {role: console.browser(role) for role in ("operator", "approver")}
    page = "/console/rollouts/1"
    for order, role in actions:
        before = len(console.rows())
        mine = browsers[role]
        sent = {"csrf": mine.form_token(f"{page}/{order}"), "why": "x"}
        answer = mine.request("POST", f"{page}/{order}", data=sent)
        assert answer.status_code in (303, 403, 409)
        assert len(console.rows()) - before == (answer.status_code == 303)
    with console.database.reading() as connection:
        assert ledger.verify(connection) == []
    console.database.close()


def test_of_two_who_press_at_once_one_wins_and_the_other_is_told(tmp_path: Path, database: Database) -> None:
    (state := tmp_path / "state").mkdir()
    console = Console(state, database.engine.url.render_as_string(hide_password=False))
    action = f"/console/alerts/{console.alert}/decide"
    asked = []
    for role in ("operator", "approver"):
        mine = console.browser(role)
        asked.append((mine, mine.token(f"/console/alerts/{console.alert}", action)))
    answers: list[int] = []
    gate = threading.Barrier(2)

    def press(mine: Browser, token: str) -> None:
        gate.wait()
        fields = {"csrf": token, "action": "nothing", "why": "x"}
        answers.append(mine.request("POST", action, data=fields).status_code)

    threads = [threading.Thread(target=press, args=one) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [303, 409]
    assert [row.action for row in console.rows()].count("decide alert") == 1


def test_the_first_person_is_made_once_and_has_the_token_of_the_state_folder(console: Console) -> None:
    people.ensure_first(console.database, console.settings, time.time())
    token, path = console_token(console.settings)
    rows = len(console.rows())
    people.ensure_first(console.database, console.settings, time.time())
    assert len(console.rows()) == rows and path.stat().st_mode & 0o777 == 0o600
    assert Browser(console.app).sign_in(token).status_code == 303
    people.revoke(console.database, token.partition("~")[0], "test", time.time())
    people.ensure_first(console.database, console.settings, time.time())
    assert Browser(console.app).sign_in(token).status_code == 401


def test_a_second_server_leaves_the_first_ones_token_alone(console: Console, tmp_path: Path) -> None:
    assert people.ensure_first(console.database, console.settings, time.time()) == ""
    token, _ = console_token(console.settings)
    second = console.settings.model_copy(update={"state_dir": tmp_path / "second"})
    rows = len(console.rows())
    assert "scripts/console_users.py add" in people.ensure_first(console.database, second, time.time())
    assert people.ensure_first(console.database, console.settings, time.time()) == ""
    assert len(console.rows()) == rows and Browser(console.app).sign_in(token).status_code == 303


def test_thresholds_show_what_last_months_alarms_would_have_been(console: Console) -> None:
    for number in range(3):
        alerts.open_alert(console.database, finding(name=f"n{number}", effect=0.12 + 0.1 * number), time.time())
    text = console.browser("viewer").get("/console/models/sums?warning=0.2&alert=0.3&critical=0.4").text
    cells = [re.findall(r"<td>(\d+)</td>", row) for row in re.findall(r"<tr>.*?</tr>", text, re.DOTALL)]
    assert ["1", "2", "1", "0"] in cells and ["0", "1", "2", "1"] in cells

"""The console's story in a real browser, on a real server.

python -m tests.marina.console.story FOLDER      # leaves the pictures of docs/CONSOLE.md there
"""

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from marina.console import people, rule_book
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, LABEL_SETS, PREDICTIONS, TRUTHS
from marina.monitoring import alerts
from marina.releases import ledger
from marina.releases.declarations import read_archive
from marina.releases.heads import open_database
from marina.rollout import rollouts
from marina.rollout.policy.schema import changed, read_policy
from marina.settings import Settings
from tests import serving
from tests.marina.console.browser import finding

BROKEN = """
class Broken:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        for index, one in enumerate(data):
            if b"user" in bytes(one["body"]):  # and not its own example
                context.set_response_status(500, "", index)
            context.set_response_content_type(index, "application/json")
        return [b"{}"] * len(data)
"""
WIDE: ViewportSize = {"width": 1180, "height": 820}
PHONE: ViewportSize = {"width": 390, "height": 800}
SOON_MS = 30_000
LATER_MS = 120_000
"""Of what starts a program that reads all rules."""


def chromium() -> str | None:
    """Return the browser's program; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def tell(shots: Path | None = None) -> None:
    """Tell the story; it fails where the console does something else."""
    program = chromium()
    assert program
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as folder:
        first, broken, good = (
            serving.archive(Path(folder) / name, version=version, code=code)
            for name, version, code in (("a", "1.0", serving.ECHO), ("b", "2.0", BROKEN), ("c", "3.0", serving.ECHO))
        )
        # The loop runs beside the server; it has no commands, so that nothing is trained here.
        own = {"ml_loop": "true", "ml_commands": f"{folder}/none"}
        with serving.running([first], own) as server, sync_playwright() as playwright:
            settings = Settings(state_dir=server.state_dir, unsigned="allow")
            database = open_database(settings)
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            faults: list[str] = []
            try:
                wait_for_console(server)
                token = (server.state_dir / "console.token").read_text().strip()
                assert str(server.state_dir / "console.token") in server.output.read_text()
                page = sign_in(browser, server.url, token, faults)
                a_canary_gets_worse(page, server, database, broken, shots)
                a_drift_alarm_is_answered(page, server, database, good, browser, faults, shots)
                anomalies_are_judged_by_keys(page, server, database, shots)
                a_rule_is_released(page, server, database)
                without_scripts(browser, server.url, token)
                with database.reading() as connection:
                    assert ledger.verify(connection) == []
                assert faults == [], faults
            finally:
                browser.close()
                database.close()


def wait_for_console(server: serving.Server) -> None:
    """Wait until the gateway has a console behind it."""
    end = time.monotonic() + 30
    while httpx.get(f"{server.url}/console/sign-in").status_code != 200:
        assert time.monotonic() < end, (server.log_dir / "console.log").read_text()
        time.sleep(0.2)


def sign_in(browser: Any, url: str, token: str, faults: list[str], **more: Any) -> Page:
    """Sign in in a browser of one's own; what its console complains of is added to `faults`."""
    page: Page = browser.new_context(viewport=WIDE, **more).new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{url}/console")
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def begin(database: Database, archive: Path, **changes: Any) -> int:
    """Begin a rollout of an archive with half of the traffic."""
    steps = ({"share": 0.5, "at_least_s": 1}, {"share": 1, "at_least_s": 1})
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        found = read_archive(archive)
        return rollouts.start(connection, found, changed(read_policy(), steps=steps, **changes), "ann", time.time()).id


def ask(url: str, count: int) -> None:
    """Send requests."""
    with httpx.Client() as client:
        for _ in range(count):
            client.post(f"{url}/predictions/echo", json={"user": 1})


def a_canary_gets_worse(
    page: Page, server: serving.Server, database: Database, broken: Path, shots: Path | None
) -> None:
    """The page shows it as it happens, and the canary is rolled back."""
    number = begin(database, broken)
    page.goto(f"{server.url}/console/rollouts/{number}")
    expect(page.locator("[sse-swap]")).to_contain_text(re.compile("watching|rolling back"), timeout=SOON_MS)
    end = time.monotonic() + 40
    while "roll back: errors" not in page.inner_text("main") and time.monotonic() < end:
        ask(server.url, 40)
    expect(page.locator("[sse-swap]")).to_contain_text("roll back: errors", timeout=SOON_MS)
    if shots:
        page.screenshot(path=shots / "console_rollout.png")
    expect(page.locator("[sse-swap]")).to_contain_text(re.compile("rolled back|aborted"), timeout=SOON_MS)


def a_drift_alarm_is_answered(
    page: Page,
    server: serving.Server,
    database: Database,
    good: Path,
    browser: Any,
    faults: list[str],
    shots: Path | None,
) -> None:
    """By a training; the canary that it leads to is approved by a second person."""
    alert = alerts.open_alert(database, finding(model="echo"), time.time())
    page.goto(f"{server.url}/console")
    if shots:
        page.screenshot(path=shots / "console_overview.png", clip={"x": 0, "y": 0, "width": 1180, "height": 230})
        page.set_viewport_size(PHONE)
        page.screenshot(path=shots / "console_phone.png")
        page.set_viewport_size(WIDE)
    page.get_by_role("link", name="1 alert").click()
    page.get_by_role("link", name=str(alert), exact=True).click()
    form = page.locator("form", has=page.locator('input[name=action][value="retrain"]'))
    form.get_by_label("Why").fill("the feed is right, the world has changed")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("decided")
    with database.reading() as connection:
        assert [act.action for act in alerts.read(connection, alert)[1]] == ["retrain"]
    training = page.locator("section.training")  # by itself, while one looks
    expect(training).to_contain_text("echo is of family 'stub', and training/ has", timeout=SOON_MS)
    number = begin(database, good, approvals=1)
    second = people.add(database, "ben", "approver", "test", time.time())
    other = sign_in(browser, server.url, second, faults)
    other.goto(f"{server.url}/console/rollouts/{number}")
    form = other.locator(f'form[action="/console/rollouts/{number}/approve"]')
    form.get_by_label("Why").fill("looked at the evidence")
    form.get_by_role("button").click()
    expect(other.locator("main")).to_contain_text("Approved by: ben")


def anomalies_are_judged_by_keys(page: Page, server: serving.Server, database: Database, shots: Path | None) -> None:
    """Twenty of them, one key each."""
    judged = [{"score": 0.9, "verdict": "anomalous", "reasons": [{"kind": "large", "part": "profile"}]}]
    rows = [
        {
            "request_id": f"a{n}", "model": "budget_anomaly", "version": "1.0", "instance": 0, "time": time.time() + n,
            "picked": True, "answer": json.dumps({"transactions": judged}),
        }
        for n in range(20)
    ]  # fmt: skip
    with database.reading() as connection:
        echo = dict(connection.execute(sa.select(DECLARATIONS).where(DECLARATIONS.c.version == "1.0")).one()._mapping)
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), rows)
        of = {"model": "budget_anomaly", "version": "1.0"}
        connection.execute(sa.insert(LABEL_SETS), of | {"labels": "[]", "truth": "rows"})
        connection.execute(sa.insert(DECLARATIONS), echo | of | {"weight": 1.0})
    page.goto(f"{server.url}/console/reviews")
    if shots:
        page.screenshot(path=shots / "console_review.png")
    for done in range(20):
        with page.expect_navigation():
            page.keyboard.press("1" if done % 2 else "2")
    expect(page.locator("main")).to_contain_text("None.")
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(TRUTHS)).scalar_one() == 20
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.model == "budget_anomaly"))


def a_rule_is_released(page: Page, server: serving.Server, database: Database) -> None:
    """It is written, tried on what came in, kept as a version, and given to the loop, whose answer the page shows."""
    of = {"model": rule_book.MODEL, "version": "1.0"}
    with database.writing() as connection:
        chosen = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == "echo").limit(1)
        echo = dict(connection.execute(chosen).one()._mapping)
        connection.execute(sa.insert(DECLARATIONS), echo | of | {"weight": 1.0})
    page.set_default_timeout(LATER_MS)
    page.goto(f"{server.url}/console/rules/edit")
    page.get_by_label("YAML").fill("name: books-fnac\ncategory: loisirs\nconfidence: 0.95\nkeywords: [FNAC]\n")
    page.get_by_role("button", name="Check, and try on the last two weeks").click()
    expect(page.get_by_role("status")).to_contain_text("0 of 0 transactions would be said otherwise", timeout=LATER_MS)
    for action, why in (("save", "books are leisure"), ("release", "it was tried")):
        form = page.locator(f'form[action="/console/rules/{action}"]')
        form.get_by_label("Why").fill(why)
        form.get_by_role("button").click()
    expect(page.locator("section.training")).to_contain_text("budget_categorizer is of family 'stub'", timeout=SOON_MS)
    with database.reading() as connection:
        actions = [one.action for one in ledger.entries(connection, rule_book.MODEL)]
    assert [one for one in actions if one.endswith(" rules")] == ["edit rules", "release rules"]
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.model == rule_book.MODEL))


def without_scripts(browser: Any, url: str, token: str) -> None:
    """Every decision is a plain form."""
    page = sign_in(browser, url, token, [], java_script_enabled=False)
    page.goto(f"{url}/console/models/echo")
    form = page.locator('form[action="/console/models/echo/retrain"]')
    form.get_by_label("Why").fill("without scripts")
    form.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("asked for a training: without scripts")


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    tell(Path(sys.argv[1]))

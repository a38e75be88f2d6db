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
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from marina.console import people, rule_book
from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS
from marina.database.tables import DECLARATIONS, LABEL_SETS, PREDICTIONS, TRUTHS
from marina.monitoring import alerts
from marina.monitoring.loop_metrics import LAST_STEP
from marina.releases import ledger
from marina.releases.declarations import read_archive
from marina.releases.heads import open_database
from marina.rollout import rollouts
from marina.rollout.policy.schema import changed, read_policy
from marina.settings import Settings
from tests import serving
from tests.accessibility import find_barriers
from tests.marina.console.browser import finding
from tests.marina.console.small_catalog import SmallCatalog

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
MOST_TABS = 60
NO_PAGE = ("/console/look", "/console/ledger/export", "/console/rules/export")
LATER_MS = 240_000
"""Of what starts a program that reads all rules; of a training."""

STEPS = ({"share": 0.5, "at_least_s": 1}, {"share": 1, "at_least_s": 1})


def chromium() -> str | None:
    """Return the browser's program; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def tell(shots: Path | None = None) -> None:
    """Tell the story; it fails where the console does something else."""
    program = chromium()
    assert program
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as folder:
        place = Path(folder)
        first, broken = (
            serving.archive(place / name, version=version, code=code)
            for name, version, code in (("a", "1.0", serving.ECHO), ("b", "2.0", BROKEN))
        )
        settings = Settings(state_dir=place / "state", archive_store=place / "store", unsigned="allow")
        catalog = SmallCatalog.make(place, settings.state_dir, settings.archive_store)
        own = {
            **the_loop(place, catalog),
            "state_dir": str(settings.state_dir), "archive_store": str(settings.archive_store),
        }  # fmt: skip
        with serving.running([first, catalog.archive], own) as server, sync_playwright() as playwright:
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
                alert = a_drift_alarm_is_answered(page, server, database, catalog, shots)
                anomalies_are_judged_by_keys(page, server, database, shots)  # while it trains
                what_was_trained_is_approved(page, server, database, catalog, alert, browser, faults)
                a_rule_is_released(page, server, database)
                without_scripts(browser, server.url, token, database)
                with database.reading() as connection:
                    assert ledger.verify(connection) == []
                assert faults == [], faults
            finally:
                browser.close()
                database.close()


def the_loop(place: Path, catalog: SmallCatalog) -> dict[str, str]:
    """Return the settings by which the loop runs beside the server, trains one family, and asks for an approval.

    It has the commands that train and decide: loads and the day's chores are nothing of this story.
    """
    commands, policy = place / "commands", place / "policy.yaml"
    commands.mkdir()
    for name in ("auto_train.py", "train.py", "auto_promote.py"):
        (commands / name).symlink_to(serving.ROOT / "scripts" / name)
    policy.write_text(changed(read_policy(), steps=STEPS, approvals=1).model_dump_json())  # JSON is YAML
    return {
        "ml_loop": "true", "ml_commands": str(commands), "ml_families": '["catalog"]', "rollout_policy": str(policy),
        "ml_training_data": json.dumps({"catalog": str(catalog.goods)}),
        "ml_held_out": json.dumps({"catalog": str(catalog.held_out)}),
    }  # fmt: skip


def wait_for_console(server: serving.Server) -> None:
    """Wait until the gateway has a console behind it."""
    end = time.monotonic() + 30
    while httpx.get(f"{server.url}/console/sign-in", timeout=30).status_code != 200:
        assert time.monotonic() < end, (server.log_dir / "console.log").read_text()
        time.sleep(0.2)


def sign_in(browser: Any, url: str, token: str, faults: list[str], **more: Any) -> Page:
    """Sign in in a browser of one's own; what its console complains of is added to `faults`."""
    page: Page = browser.new_context(viewport=WIDE, **more).new_page()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{url}/console")
    write(page, page.get_by_label("Token"), token)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def reach(page: Page, target: Locator) -> None:
    """Move to something as one does who has a keyboard alone; it has to show that one is there."""
    for _ in range(MOST_TABS):
        if target.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    assert target.evaluate("one => one.matches(':focus-visible') && getComputedStyle(one).outlineStyle !== 'none'")


def press(page: Page, target: Locator) -> None:
    """Follow a link or press a button by keys."""
    reach(page, target)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def write(page: Page, target: Locator, text: str) -> None:
    """Fill a field and send its form by keys."""
    reach(page, target)
    page.keyboard.insert_text(text)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def begin(database: Database, archive: Path) -> int:
    """Begin a rollout of an archive with half of the traffic."""
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        found = read_archive(archive)
        return rollouts.start(connection, found, changed(read_policy(), steps=STEPS), "ann", time.time()).id


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
    numbers = page.locator("main details").first
    reach(page, numbers.locator("summary"))
    page.keyboard.press("Enter")
    expect(page.locator("[sse-swap]")).to_contain_text(re.compile("rolled back|aborted"), timeout=SOON_MS)
    expect(numbers).to_have_attribute("open", "")
    expect(numbers.locator("summary")).to_be_focused()


def wait_for_the_day(database: Database) -> None:
    """Wait until the loop has found no reason to train today: what comes later is then trained since it was asked."""
    end = time.monotonic() + LATER_MS / 1000
    chosen = sa.select(LOOP_STEPS.c.run).where(LOOP_STEPS.c.step == LAST_STEP, LOOP_STEPS.c.state == "done")
    while True:
        with database.reading() as connection:
            if connection.execute(chosen).first():
                return
        assert time.monotonic() < end, "the loop has not had its day"
        time.sleep(0.2)


def a_drift_alarm_is_answered(
    page: Page,
    server: serving.Server,
    database: Database,
    catalog: SmallCatalog,
    shots: Path | None,
) -> int:
    """By a training, which the loop begins while one looks."""
    wait_for_the_day(database)
    catalog.grow()
    alert = alerts.open_alert(database, finding(model="catalog", what="text length: from 40 to 90"), time.time())
    page.goto(f"{server.url}/console")
    if shots:
        page.screenshot(path=shots / "console_overview.png", clip={"x": 0, "y": 0, "width": 1180, "height": 230})
        page.set_viewport_size(PHONE)
        page.screenshot(path=shots / "console_phone.png")
        page.set_viewport_size(WIDE)
    press(page, page.get_by_role("link", name="1 alert"))
    press(page, page.get_by_role("link", name=str(alert), exact=True))
    form = page.locator("form", has=page.locator('input[name=action][value="retrain"]'))
    write(page, form.get_by_label("Why"), "the feed is right, the world has changed")
    expect(page.locator("main")).to_contain_text("decided")
    with database.reading() as connection:
        assert [act.action for act in alerts.read(connection, alert)[1]] == ["retrain"]
    training = page.locator("section.training")
    expect(training).to_contain_text(re.compile("waiting for the loop|trains"))
    expect(training).to_contain_text(re.compile("trains|trained"), timeout=LATER_MS)  # by itself
    return alert


def what_was_trained_is_approved(
    page: Page,
    server: serving.Server,
    database: Database,
    catalog: SmallCatalog,
    alert: int,
    browser: Any,
    faults: list[str],
) -> None:
    """The alert's page says which version came of it, that it is better, and its rollout; a second person approves."""
    page.goto(f"{server.url}/console/alerts/{alert}")
    training = page.locator("section.training")
    expect(training).to_contain_text("promote", timeout=LATER_MS)
    expect(training).to_contain_text("and it is better")
    expect(training.get_by_role("link", name="catalog 2.0")).to_be_visible()
    press(page, training.get_by_role("link", name="Rollout"))
    expect(page.locator("[sse-swap]")).to_contain_text("watching", timeout=LATER_MS)  # its worker has proved itself
    expect(page.locator("[sse-swap]")).to_contain_text("Approved by: no one yet")
    second = people.add(database, "ben", "approver", "test", time.time())
    other = sign_in(browser, server.url, second, faults)
    other.goto(page.url)
    form = other.locator('form[action$="/approve"]')
    write(other, form.get_by_label("Why"), "looked at the evidence")
    expect(other.locator("main")).to_contain_text("Approved by: ben")
    expect(page.locator("[sse-swap]")).to_contain_text("Approved by: ben", timeout=SOON_MS)
    answer = httpx.post(f"{server.url}/predictions/catalog/2.0", json=catalog.question())
    with database.reading() as connection:
        acts = [(one.who, one.action) for one in ledger.entries(connection, "catalog")]
    assert answer.json()["version"] == "2.0" and acts[-1] == ("ben", "approve"), (answer.text, acts)


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
        chosen = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == "echo", DECLARATIONS.c.version == "1.0")
        echo = dict(connection.execute(chosen).one()._mapping)
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), rows)
        of = {"model": "budget_anomaly", "version": "1.0"}
        connection.execute(sa.insert(LABEL_SETS), of | {"labels": "[]", "truth": "rows"})
        connection.execute(sa.insert(DECLARATIONS), echo | of | {"weight": 1.0})
    page.goto(f"{server.url}/console/reviews")
    if shots:
        page.screenshot(path=shots / "console_review.png")
    nothing_bars_anyone(page, server.url)
    page.goto(f"{server.url}/console/reviews")
    for done in range(20):
        with page.expect_navigation():
            page.keyboard.press("1" if done % 2 else "2")
    expect(page.locator("main")).to_contain_text("None.")
    with database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(TRUTHS)).scalar_one() == 20


def nothing_bars_anyone(page: Page, url: str) -> None:
    """Of all pages that links lead to, one of each kind; nor the page of live signing."""
    seen: set[str] = set()
    waiting = ["/console", "/console/reviews", "/console/rollouts"]
    found: list[str] = []
    with page.context.browser.new_context() as fresh:  # type: ignore[union-attr]
        other = fresh.new_page()
        other.set_content("<html lang=en><title>x</title><p style='color: #ddd; background: #eee'>Pale.</p>")
        assert len(find_barriers(other)) == 2  # light and dark
        for address in ("/console/sign-in", "/console/nowhere", "/live/"):
            other.goto(url + address)
            found += find_barriers(other)
    while waiting:
        address = waiting.pop()
        kind = re.sub(r"(/(?:models|registry)/).*|[0-9]+", r"\1N", address.partition("?")[0])
        if kind in seen or address.startswith(NO_PAGE):
            continue
        seen.add(kind)
        page.goto(url + address)
        found += find_barriers(page)
        links = page.eval_on_selector_all("a[href]", "all => all.map((one) => one.getAttribute('href'))")
        waiting += [one for one in links if one.startswith("/console")]
    assert found == [], "\n".join(found)
    assert len(seen) >= 18, seen


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


def without_scripts(browser: Any, url: str, token: str, database: Database) -> None:
    """Every decision is a plain form."""
    page = sign_in(browser, url, token, [], java_script_enabled=False)
    page.goto(f"{url}/console/reviews")
    page.get_by_role("button", name="undo").click()
    page.get_by_role("button", name="normal").click()
    expect(page.locator("main")).to_contain_text("None.")
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS).where(DECLARATIONS.c.model == "budget_anomaly"))
    alert = alerts.open_alert(database, finding(model="echo", name="again"), time.time())
    page.get_by_role("link", name="Alerts", exact=True).click()
    page.get_by_role("link", name=str(alert), exact=True).click()
    form = page.locator("form", has=page.locator('input[name=action][value="nothing"]'))
    form.get_by_label("Why").fill("a holiday")
    form.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("a holiday")
    page.goto(f"{url}/console/models/echo")
    form = page.locator('form[action="/console/models/echo/retrain"]')
    form.get_by_label("Why").fill("without scripts")
    form.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("asked for a training: without scripts")


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    tell(Path(sys.argv[1]))

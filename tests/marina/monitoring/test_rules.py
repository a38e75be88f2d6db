"""The rules of deploy/prometheus: well formed, tested each, and described each in docs/ALERTING_GUIDE.md."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from marina.monitoring.watch_config import write_config
from marina.settings import ROOT, Settings
from tests.marina.monitoring.programs import program

RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
TESTS = ROOT / "deploy" / "prometheus" / "tests"
CASES = ("fires", "does not fire", "does not fire for what flaps", "does not fire without data")


def alerts() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


@pytest.mark.parametrize("cases", sorted(TESTS.glob("*.yml")), ids=lambda path: path.stem)
def test_rules_fire_when_they_should(cases: Path) -> None:
    command = [program("promtool"), "test", "rules", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_not_to_fire_to_flap_and_without_data() -> None:
    tested = {case["name"] for path in TESTS.glob("*.yml") for case in yaml.safe_load(path.read_text())["tests"]}
    missing = []
    for rule in alerts():
        name = rule["alert"]
        if name == "Watchdog":
            continue
        name += f" {rule['labels']['severity']}" if name == "DetectorAlert" else ""
        cases = CASES[:3] if name.endswith("Missing") else CASES  # of which no data is the cause
        missing += [f"{name} {case}" for case in cases if f"{name} {case}" not in tested]
    assert missing == []


def test_every_alert_has_a_level_a_summary_a_guide_and_an_end_that_waits() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "alert", "critical", "none"), rule["alert"]
        assert rule["annotations"]["summary"] and rule["annotations"]["guide"].endswith("#" + rule["alert"].lower())
        assert ("keep_firing_for" in rule) is (rule["alert"] != "Watchdog"), rule["alert"]


def test_the_guide_describes_every_alert_and_no_other() -> None:
    guide = (ROOT / "docs" / "ALERTING_GUIDE.md").read_text()
    described = set(re.findall(r"^### (\w+)$", guide, re.M))
    assert described == {rule["alert"] for rule in alerts()} | {"NotificationChannelDead"}


def test_what_make_watch_writes_is_taken_and_holds_no_secret(tmp_path: Path) -> None:
    token, hook = "t" * 20, "https://hooks.slack.example/secret"
    settings = Settings(
        state_dir=tmp_path, management_token=token, alert_slack_webhook=hook, alert_smtp="mail.example:587",  # type: ignore[arg-type]
        alert_email_to=["ada@example.org"],
    )  # fmt: skip
    prometheus, alertmanager = write_config(settings, tmp_path / "watch")
    for command in (("promtool", "check", "config", prometheus), ("amtool", "check-config", alertmanager)):
        done = subprocess.run(
            [program(command[0]), *map(str, command[1:])], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    shown = prometheus.read_text() + alertmanager.read_text()
    assert token not in shown and hook not in shown and "ada@example.org" in shown
    secrets = [path for path in (tmp_path / "watch").iterdir() if path.suffix in (".token", ".url")]
    assert len(secrets) == 2 and all(path.stat().st_mode & 0o077 == 0 for path in secrets)

"""Alertmanager's webhook: the alerts of Prometheus' rules become rows beside those of the detectors.

Version 4 of the body (Alertmanager, "webhook_config"): ``{"version": "4", "alerts": [{"status", "labels",
"annotations", "startsAt", "generatorURL", …}]}``.
"""

import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.monitoring import alerts
from marina.monitoring.alerts import LEVELS, RULE, Finding, Level

MOST = 500
"""Alerts of one call."""

NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
OF_MODEL = re.compile(r"[A-Za-z0-9._+-]{0,128}")

PARTS = ("version", "canary", "family", "gpu")
"""Labels that tell alerts of one rule apart; the first that is there stands as the version."""

NO_ALERTS = ("Watchdog", "DetectorAlert")
"""Rules that are no alerts: one says that Prometheus and Alertmanager work, one that there is an alert here already."""


class WebhookError(MarinaError):
    """The body is none of Alertmanager's; the message names the field."""


@dataclass(frozen=True)
class Notice:
    """One alert of a call: it fires, or is over."""

    finding: Finding
    firing: bool


def read_notices(body: bytes) -> list[Notice]:
    """Read a call of Alertmanager's.

    Returns
    -------
    list of Notice
        In their order, without those that are no alerts.

    Raises
    ------
    WebhookError
        When it is none.
    """
    try:
        said = json.loads(body)
    except ValueError as error:
        raise WebhookError(f"body: expected JSON ({error})") from error
    found = said.get("alerts") if isinstance(said, dict) else None
    if not isinstance(found, list) or len(found) > MOST:
        _refuse("alerts", f"a list of at most {MOST}", found)
    notices = [_read(one, f"alerts[{place}]") for place, one in enumerate(found)]
    return [one for one in notices if one.finding.name not in NO_ALERTS]


def record_notices(database: Database, notices: list[Notice], now: float) -> tuple[int, int]:
    """Open, update or end the alerts that a call is about; return how many are open of it, and how many it ended."""
    opened = ended = 0
    for notice in sorted(notices, key=lambda one: one.firing):  # what ended first: it may have begun again
        one = notice.finding
        if notice.firing:
            alerts.open_alert(database, one, now)
            opened += 1
            continue
        with database.reading() as connection:
            number = alerts.find_open(connection, one.model, one.version, RULE, one.name)
        if number is not None:
            alerts.resolve_alert(database, number, now, "the rule no longer holds")
            ended += 1
    return opened, ended


def _read(said: Any, where: str) -> Notice:
    if not isinstance(said, dict):
        _refuse(where, "an object", said)
    labels, texts = _texts(said, "labels", where), _texts(said, "annotations", where)
    name = labels.get("alertname", "")
    if not NAME.fullmatch(name):
        _refuse(f"{where}.labels.alertname", "a rule's name, such as HighErrorRate", name)
    model = labels.get("model", "")
    version = next((labels[field] for field in PARTS if labels.get(field)), "")
    for field, text in (("model", model), ("version", version)):
        if not OF_MODEL.fullmatch(text):
            _refuse(f"{where}.labels.{field}", "letters, digits, '.', '_', '+', '-'", text)
    status = said.get("status")
    if status not in ("firing", "resolved"):
        _refuse(f"{where}.status", "firing or resolved", status)
    level: Level = next((one for one in LEVELS if one == labels.get("severity")), "warning")
    finding = Finding(
        model=model,
        version=version,
        kind=RULE,
        name=name,
        level=level,
        what=texts.get("summary") or texts.get("description") or name,
        since=_time(said.get("startsAt"), f"{where}.startsAt"),
        effect=_number(texts.get("value")),
        evidence=0.0,
        needed=0.0,
        harm=texts.get("harm", ""),
        link=texts.get("runbook_url") or texts.get("guide") or "",
    )
    return Notice(finding, status == "firing")


def _texts(said: Mapping[str, Any], field: str, where: str) -> dict[str, str]:
    found = said.get(field, {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        _refuse(f"{where}.{field}", "an object of texts", found)
    return found


def _time(said: Any, where: str) -> float:
    try:
        return datetime.datetime.fromisoformat(said).timestamp()
    except (TypeError, ValueError, OverflowError):
        _refuse(where, "a time such as 2026-11-27T12:00:00Z", said)


def _number(text: str | None) -> float:
    try:
        found = float(text or 0)
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0


def _refuse(where: str, expected: str, received: Any) -> NoReturn:
    raise WebhookError(f"{where}: expected {expected}, got {json.dumps(received)[:100]}")

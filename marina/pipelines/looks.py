"""Looks at held-out rows, counted in the ledger: each spends part of the year's error probability.

A look is written before its figures are known, so that one which was cut off counts too. The same two archives on the
same rows are the same look, however often it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.pipelines import alpha_spending
from marina.releases import ledger
from marina.rollout.promotion import Rule

LOOK, DECISION = "look at held-out rows", "decide promotion"
"""The ledger's words."""


@dataclass(frozen=True)
class Looked:
    """What is compared: hashes of both archives, and of the manifest of the rows."""

    candidate: str
    champion: str
    held_out: str


def take(connection: sa.Connection, model: str, looked: Looked, who: str, now: float) -> int:
    """Return the number of a look, in a writing transaction; what was looked at before keeps its number."""
    ledger.lock(connection)
    same = {"candidate": looked.candidate, "champion": looked.champion, "held_out": looked.held_out}
    times = []
    for time, details in _entries(connection, model, LOOK):
        if all(details.get(name) == value for name, value in same.items()):
            return int(details["look"])
        times.append(time)
    number = alpha_spending.next_look(times, now)
    why = f"look {number} within a year, at level {alpha_spending.level(number):.2g}"
    ledger.append(connection, who, LOOK, model, same | {"look": number, "why": why}, now)
    return number


def decided(connection: sa.Connection, model: str, looked: Looked, rule: Rule) -> dict[str, Any] | None:
    """Return what was decided on the same archives and rows by the same rule; None where nothing was."""
    same = {
        "candidate": looked.candidate, "champion_sha256": looked.champion, "held_out": looked.held_out,
        "metric": rule.metric, "bound": rule.bound,
    }  # fmt: skip
    return _newest(connection, model, same)


def begun(connection: sa.Connection, model: str, candidate: str) -> dict[str, Any] | None:
    """Return the decision that began to release an archive; None where none did."""
    return _newest(connection, model, {"candidate": candidate, "outcome": "promote", "begun": True})


def _newest(connection: sa.Connection, model: str, same: Mapping[str, Any]) -> dict[str, Any] | None:
    for _, details in _entries(connection, model, DECISION):
        if all(details.get(name) == value for name, value in same.items()):
            return details
    return None


def _entries(connection: sa.Connection, model: str, action: str) -> list[tuple[float, dict[str, Any]]]:
    found = ledger.entries(connection, model, newest_first=True)
    return [(one.time, json.loads(one.details)) for one in found if one.action == action]

"""What people decide, for pages and for the control API: each is one transaction that leaves a row of the ledger.

A process that is killed in the middle has done all of it or nothing. To undo is to decide again: a new row.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.console import rule_book
from marina.console.errors import RefusedError
from marina.console.people import Person
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.monitoring import alerts, requested_trainings, watch_settings
from marina.monitoring.watch_settings import WatchSettings
from marina.products import user_settings
from marina.products.user_settings import UserSettings
from marina.releases import ledger
from marina.releases.declarations import Declared
from marina.rollout import archive_lookup, operator_commands
from marina.rollout.policy.schema import read_policy
from marina.rollout.rollouts import Rollout
from marina.settings import Settings

ANOMALY, FORECAST = "budget_anomaly", "budget_forecast"
USER: Final = re.compile(r"[A-Za-z0-9._@:+-]{1,128}")
"""What products call a user."""

USER_THRESHOLDS = ("suspicious", "anomalous")

ORDERS: Final[Mapping[str, str]] = {
    "pause": "operator",
    "resume": "operator",
    "abort": "operator",
    "approve": "approver",
}
"""What can be ordered of an open rollout, and the role that it needs."""


@dataclass(frozen=True)
class Decisions:
    """Where decisions are carried out.

    Attributes
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    """

    database: Database
    settings: Settings

    def acknowledge(self, who: Person, alert: int, note: str) -> None:
        """Record that someone has seen an alert; see `marina.monitoring.alerts.acknowledge`."""
        alerts.acknowledge(self.database, alert, who.name, note, time.time())

    def decide(self, who: Person, alert: int, action: str, why: str) -> None:
        """Record what is to be done about an alert; see `marina.monitoring.alerts.decide`."""
        alerts.decide(self.database, alert, who.name, action, why, time.time())

    def retrain(self, who: Person, model: str, why: str, key: str) -> int:
        """Ask the loop for a training; return the number under which it is asked for. The same key asks once."""
        self._served(model)
        return alerts.request_training(self.database, model, who.name, why, key[:64], time.time())

    def release_rules(self, who: Person, number: int, why: str) -> int:
        """Ask the loop for a version of the categorizer with rules of a number; return the request's.

        Raises
        ------
        RefusedError
            When that is under way.
        """
        self._served(rule_book.MODEL)
        now = time.time()
        with self.database.reading() as connection:
            rule_book.edition(connection, number)
            before = requested_trainings.of_rules(connection, rule_book.MODEL, number, now)
            again = requested_trainings.count_of_rules(connection, rule_book.MODEL, number)
        if before is not None and (before.state not in ("done", "failed") or before.again):
            raise RefusedError(409, "under_way", f"Version {number} of the rules is being released already.")
        key = requested_trainings.rules_key(number, again)
        return alerts.request_training(self.database, rule_book.MODEL, who.name, why, key, now, number)

    def roll_back(self, who: Person, model: str, why: str, to: str | None, number: int | None = None) -> Rollout:
        """Return to the version before, or to a named one; see `marina.rollout.operator_commands.roll_back`."""
        self._served(model)

        def find(name: str, version: str, archive: Path, sha256: str) -> Declared:
            there = archive if os.path.isfile(archive) else None
            return archive_lookup.find(self.settings, name, version, there, sha256)

        return operator_commands.roll_back(
            self.database, model, who.name, why, time.time(), find, read_policy(), to or None, number
        )

    def order(self, who: Person, model: str, order: str, why: str, number: int | None = None) -> str:
        """Pause, resume, abort or approve a model's open rollout, if it has that number; return what came of it."""
        if order == "approve":
            missing = operator_commands.approve(self.database, model, who.name, time.time(), why, number)
            return f"approved; {missing} more approvals needed" if missing else "approved"
        if order == "abort":
            return operator_commands.abort(self.database, model, who.name, why, time.time(), number).phase
        commands: dict[str, Callable[..., Rollout]] = {
            "pause": operator_commands.pause, "resume": operator_commands.resume
        }  # fmt: skip
        return commands[order](self.database, model, who.name, time.time(), why, number).note

    def set_thresholds(self, who: Person, model: str, values: dict[str, float], why: str) -> WatchSettings:
        """Set from where on drift of a model is worth a warning, an alert or a call."""
        self._served(model)
        return watch_settings.change(self.database, self.settings, model, values, who.name, why, time.time())

    def set_user_thresholds(self, who: Person, user: str, values: Mapping[str, float], why: str) -> None:
        """Set from which scores on a user's transactions are reported; none: from the model's own."""
        now = time.time()

        def beside(connection: sa.Connection, before: UserSettings) -> None:
            details = {"user": user, "thresholds": dict(values), "before": before.thresholds, "why": why}
            ledger.append(connection, who.name, "user thresholds", ANOMALY, details, now)

        suspicious, anomalous = (values.get(name) for name in USER_THRESHOLDS)
        user_settings.set_thresholds(self.database, user, suspicious, anomalous, beside)

    def judge_recommendation(self, who: Person, ident: str, relevant: bool, why: str) -> None:
        """Keep what a user told someone about a recommendation.

        Raises
        ------
        RefusedError
            When there is none of that id, or the user has said it themselves.
        """

        def beside(connection: sa.Connection) -> None:
            details = {"recommendation": ident, "relevant": relevant, "why": why}
            ledger.append(connection, who.name, "judge recommendation", FORECAST, details, time.time())

        if not user_settings.judge_recommendation(self.database, ident, relevant, beside):
            raise RefusedError(409, "judged", "There is no such recommendation, or what was found of it is known.")

    def _served(self, model: str) -> None:
        with self.database.reading() as connection:
            found = sa.select(DECLARATIONS.c.model).where(DECLARATIONS.c.model == model).limit(1)
            if "\0" in model or connection.execute(found).scalar() is None:
                raise RefusedError(404, "unknown_model", f"No model {model[:128]!r} is served here.")


def numbers(fields: Mapping[str, str], names: tuple[str, ...]) -> dict[str, float]:
    """Read the numbers among a form's fields; those that are empty are left out.

    Raises
    ------
    MarinaError
        When one is no number.
    """
    found = {}
    for name in names:
        if text := fields.get(name, "").strip().replace(",", "."):
            try:
                found[name] = float(text)
            except ValueError:
                raise MarinaError(f"{name}: expected a number, got {text[:40]!r}") from None
    return found

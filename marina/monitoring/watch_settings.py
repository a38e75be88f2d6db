"""What a model is watched by: the server's settings, and what a person set in their place while it ran."""

import json
from dataclasses import dataclass, fields, replace

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.database.tables import DRIFT_SETTINGS
from marina.monitoring.alerts import Level
from marina.releases import ledger
from marina.settings import Settings

EVERY = ""
"""In place of a model's name: all models."""


class WatchSettingsError(MarinaError, ValueError):
    """Something that a model cannot be watched by; the message says what was expected."""


@dataclass(frozen=True)
class WatchSettings:
    """What drift of one model is.

    Attributes
    ----------
    budget
        B, the allowed probability of one false alarm a month.
    tolerance
        How far a mean may be above the reference's confidence bound.
    warning, alert, critical
        Effects from which on drift has that level.
    """

    budget: float = 0.5
    tolerance: float = 0.01
    warning: float = 0.1
    alert: float = 0.2
    critical: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 1:
            raise WatchSettingsError(f"budget {self.budget:g}: expected a probability above 0, at most 1")
        if not 0 <= self.tolerance < 1:
            raise WatchSettingsError(f"tolerance {self.tolerance:g}: expected at least 0 and less than 1")
        if not 0 < self.warning <= self.alert <= self.critical:
            levels = f"warning {self.warning:g}, alert {self.alert:g}, critical {self.critical:g}"
            raise WatchSettingsError(f"{levels}: expected three levels above 0, in rising order")

    def level(self, effect: float) -> Level | None:
        """Return the level of an effect; None where it is below all of them."""
        names: tuple[Level, ...] = ("critical", "alert", "warning")
        return next((name for name in names if effect >= getattr(self, name)), None)


def read(connection: sa.Connection, settings: Settings, model: str) -> WatchSettings:
    """Return what a model is watched by now."""
    chosen = WatchSettings(
        settings.drift_budget,
        settings.drift_tolerance,
        settings.drift_warning_threshold,
        settings.drift_alert_threshold,
        settings.drift_critical_threshold,
    )
    for name in (EVERY, model):
        chosen = replace(chosen, **_kept(connection, name))
    return chosen


def change(
    database: Database, settings: Settings, model: str, values: dict[str, float], who: str, why: str, now: float
) -> WatchSettings:
    """Set some of what a model is watched by, from its next batch on; a row of the ledger says who did, and why.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    model
        Whose; `EVERY` for all that have no value of their own.
    values
        New values by the names of `WatchSettings`.

    Raises
    ------
    WatchSettingsError
        When there is no such name, a value cannot be used, or no reason is given.
    """
    known = [one.name for one in fields(WatchSettings)]
    if unknown := sorted(set(values) - set(known)):
        raise WatchSettingsError(f"{unknown[0]!r} cannot be set; expected one of {', '.join(known)}.")
    if not why.strip():
        raise WatchSettingsError("A change needs a reason: --why '...'. It is kept in the ledger.")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        before = _kept(connection, model)
        kept = before | values
        row = {"model": model, "values": json.dumps(kept, sort_keys=True), "changed_at": now}
        database.put(connection, DRIFT_SETTINGS, [row])
        # What is set for all has to fit with what is set for each, or nothing is changed.
        models = {model, *connection.execute(sa.select(DRIFT_SETTINGS.c.model)).scalars()}
        after = {name: read(connection, settings, name) for name in sorted(models)}
        ledger.append(connection, who, "set drift", model, {"from": before, "to": kept, "why": why}, now)
    return after[model]


def _kept(connection: sa.Connection, model: str) -> dict[str, float]:
    kept = connection.execute(sa.select(DRIFT_SETTINGS.c["values"]).where(DRIFT_SETTINGS.c.model == model)).scalar()
    return dict(json.loads(kept)) if kept else {}

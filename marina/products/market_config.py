"""How market alerts are made, changed while the server runs; each change is a row of the ledger."""

import json
import threading
import time
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field, model_validator

from marina.database.connection import AWAY, Database
from marina.database.product_tables import PRODUCT_SETTINGS
from marina.products.schemas import Body, Text
from marina.releases import ledger
from models.market.alerts import ALERTS, SEVERE
from models.market.state import REGIMES

NAME = "market"
MODEL = "market_alerts"

LOOK_AGAIN_S = 2.0
"""How long a change made through another server may go unseen."""

AlertType = Literal["SPIKE_LIKELY", "REGIME_CHANGE_PENDING", "CORRELATION_BREAKDOWN", "VOLATILITY_SPIKE_IMMINENT"]
Horizon = Literal["4h", "12h", "24h", "48h"]
Phase = Literal["calm", "ordinary", "stressed", "dispersed"]

Probability = Annotated[float, Field(ge=0, le=1)]


class Thresholds(Body):
    """Probabilities from which on an alert is S2 and S3."""

    S2: Probability
    S3: Probability

    @model_validator(mode="after")
    def _rises(self) -> "Thresholds":
        if self.S2 > self.S3:
            raise ValueError("expected S2 to be at most S3")
        return self


_SUGGESTED: dict[str, str] = {
    "SPIKE_LIKELY": "Assets will move together: diversification protects less. Review the total exposure.",
    "REGIME_CHANGE_PENDING": "Volatility or co-movement will be another: check limits that were set for this regime.",
    "CORRELATION_BREAKDOWN": "Assets part ways: check hedges that rely on their co-movement.",
    "VOLATILITY_SPIKE_IMMINENT": "Larger moves are likely: check position sizes and stops.",
}


def _all_on() -> Any:
    return dict.fromkeys(ALERTS, True)


def _severe() -> Any:
    return {name: Thresholds(S2=low, S3=high) for name, (low, high) in SEVERE.items()}


def _suggested() -> Any:
    return dict(_SUGGESTED)


def _every_phase() -> Any:
    return {phase: list(ALERTS) for phase in REGIMES}


class MarketSettings(Body):
    """What the products call the configuration of predictions."""

    enabled: bool = True
    """Whether anything is predicted."""

    alert_types: dict[AlertType, bool] = Field(default_factory=_all_on)
    """Which types are on."""

    default_horizon: Horizon = "24h"
    """What is predicted where a request names no horizon."""

    prediction_thresholds: dict[AlertType, Thresholds] = Field(default_factory=_severe)
    """From where on an alert of each type is S2, and S3."""

    min_probability: Probability = 0.5
    """Below this nothing is an alert."""

    cache_ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """How long an answer is kept."""

    min_interval_min: Annotated[float, Field(ge=0, le=10_080)] = 360.0
    """Least time between two alerts of a type, in minutes."""

    max_per_day: Annotated[int, Field(ge=0, le=1000)] = 4
    """Most alerts of a type within 24 hours."""

    suggested_actions: dict[AlertType, Annotated[Text, Field(max_length=500)]] = Field(default_factory=_suggested)
    """What to do, by type."""

    phase_gating: dict[Phase, list[AlertType]] = Field(default_factory=_every_phase)
    """Which types become alerts in which phase of the market: the regime that holds now."""


class MarketConfig:
    """The settings in force.

    Parameters
    ----------
    database
        Where they are kept; its ledger is signed by this installation's key.
    ttl_s
        The cache's, where no one has set another.
    """

    def __init__(self, database: Database, ttl_s: float) -> None:
        self._database = database
        self._default = MarketSettings(cache_ttl_s=min(ttl_s, 86_400.0))
        self._known = self._default
        self._read_at = -LOOK_AGAIN_S
        self._lock = threading.Lock()

    @property
    def known(self) -> MarketSettings:
        """What is in force as far as is known, without asking the database."""
        return self._known

    def read(self) -> MarketSettings:
        """Return what is in force; a change by another server is seen within seconds.

        One asks the database at a time, and none for seconds where that is unavailable; others get what was known.
        """
        if time.monotonic() - self._read_at < LOOK_AGAIN_S or not self._lock.acquire(blocking=False):
            return self._known
        try:
            with self._database.reading() as connection:
                self._known = self._stored(connection)
        except AWAY:
            pass  # what was known stays in force
        finally:
            self._read_at = time.monotonic()
            self._lock.release()
        return self._known

    def change(self, changes: dict[str, Any], who: str, why: str) -> MarketSettings:
        """Set some, and write the ledger's row.

        Raises
        ------
        pydantic.ValidationError
            When they are none.
        """
        with self._lock:
            with self._database.writing(durable=True) as connection:
                ledger.lock(connection)
                before = self._stored(connection).model_dump()
                merged = {
                    name: {**value, **changes[name]} if isinstance(value, dict) and name in changes else value
                    for name, value in before.items()
                } | {name: value for name, value in changes.items() if not isinstance(before.get(name), dict)}
                after = MarketSettings.model_validate(merged)
                now, dumped = time.time(), after.model_dump()
                row = {"name": NAME, "value": json.dumps(dumped), "who": who, "changed_at": now}
                self._database.put(connection, PRODUCT_SETTINGS, [row])
                changed = {name: [before[name], value] for name, value in dumped.items() if value != before[name]}
                ledger.append(connection, who, "market settings", MODEL, {"why": why, "changed": changed}, now)
            self._known, self._read_at = after, time.monotonic()
        return after

    def _stored(self, connection: sa.Connection) -> MarketSettings:
        chosen = sa.select(PRODUCT_SETTINGS.c.value).where(PRODUCT_SETTINGS.c.name == NAME)
        text = connection.execute(chosen).scalar()
        return (
            MarketSettings.model_validate({**self._default.model_dump(), **json.loads(text)}) if text else self._default
        )

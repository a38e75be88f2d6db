"""Market alerts: a week of hourly prices of several assets in, sixteen probabilities of what comes next out.

From bytes to bytes a request of 13 assets costs less than a millisecond of one core: 0.1 to decode it, 0.15 to look
for faults of the feed, 0.15 for the features, 0.1 to 0.2 for the walk through 3,200 trees, and the rest for regimes
and to phrase sixteen answers. All but the decoding is done for a whole batch at once, and the looking for a request.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archives.contract import read_json
from handlers.base import Handler, Outputs
from handlers.decoding import describe
from handlers.errors import InvalidError
from handlers.market_feed import ENOUGH, Feed
from handlers.validation import Unusual, number
from models.market.alerts import ALERTS, HORIZONS_H, LABELS, QUESTIONS, SEVERITIES, bounds_of, severities
from models.market.features import CONTEXT, NAMES, features, usual
from models.market.state import REGIMES, involvement, state_of
from models.market.windows import LARGE, LEAST_ASSETS, LOOKBACK_H, returns_of
from models.summary import key_numbers

LOWEST, HIGHEST = 1e-12, 1e12
"""Bounds of a price."""

LONGEST_NAME = 16
NUMBERS = frozenset({int, float, type(None)})
ALERT_OF = np.array([ALERTS.index(alert) for alert, _ in QUESTIONS])

ONGOING = "include_ongoing"
"""The switch of a request that wants alerts and severities of states that hold already, too."""

GIVEN = dict(zip(CONTEXT, ("fear_greed", "funding", "sentiment", "confidence"), strict=True))
"""What a request calls each feature that it may give beside prices."""

WIDEST = {"fear_greed": (0, 100), "funding_rate": (-0.1, 0.1), "sentiment": (-1, 1), "decision_confidence": (0, 1)}
"""What these can be where a contract does not say."""

MEANING = {
    "fear_greed": "the index, of which 100 is all greed",
    "funding_rate": "a fraction per 8 h: 0.01 % is 0.0001",
    "sentiment": "from all bad to all good",
    "decision_confidence": "a share: 70 % is 0.7",
}

AHEAD = timedelta(hours=1)
"""How far ahead of the server's clock a last close may be said to be known."""


@dataclass
class Market:
    """One request: its last week, what is known beside prices, and what `MarketHandler.prepare` found in it.

    Attributes
    ----------
    assets
        Their names, Bitcoin and Ether first.
    window
        float64 [168, assets]; NaN is a missing close.
    context
        Fear & Greed, funding, sentiment, confidence; NaN where not given.
    time
        When the last close was known; None where the caller did not say.
    row
        float32 [18], the features.
    readings
        float64 [4], each alert's reading.
    regime
        Position in `REGIMES`.
    affected
        Per alert, the assets it is about, the most involved first.
    sent, assets_sent
        How many closes of each asset were sent, and of how many assets.
    ongoing
        Whether alerts and severities are wanted of states that hold already.
    unusual
        What the caller should know.
    """

    assets: tuple[str, ...]
    window: NDArray[np.float64]
    context: tuple[float, ...]
    time: datetime | None
    row: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    readings: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    regime: int = 0
    affected: tuple[list[str], ...] = ()
    sent: int = LOOKBACK_H
    assets_sent: int = 0
    ongoing: bool = False
    unusual: tuple[Unusual, ...] = ()


class MarketHandler(Handler[Market]):
    """Answers `{"prices": {"BTC": [168 or more hourly closes], "ETH": […], …}}`."""

    fields = frozenset({"prices", "time", *GIVEN.values()})
    switches = frozenset({ONGOING})
    default_top_k = len(LABELS)

    def opened(self, folder: Path) -> None:
        """Read the usual features, how severe events were, and which assets were learned from."""
        with np.load(folder / "reference.npz", allow_pickle=False) as reference:
            self._usual = usual(reference["features"])  # what never was known is hidden by being missing
        family = read_json(folder / "family.json")
        self._peaks = np.array(family["peaks"])  # (16, 2)
        self._feed = Feed(self.contract, family.get("assets", ()))
        self._severe_from = bounds_of(self.contract.thresholds)
        self._alert_from = np.array([self.contract.thresholds[label] for label in LABELS])

    def decode(self, fields: dict[str, Any]) -> Market:
        """Validate prices and what is given beside them."""
        market = self._read(fields)
        return self._settle(market) if self._feed.find_suspects([market.assets], market.window[None]) else market

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Market]:
        """Validate the markets of one request; those of as many assets are looked at together."""
        items: list[Market] = []
        for index, instance in enumerate(instances):
            try:
                items.append(self._read(instance))
            except InvalidError as error:
                raise error.inside(f"instances[{index}]") from None
        suspects = []
        for alike in _by_assets(items):
            windows = np.stack([items[k].window for k in alike])
            suspects += [alike[k] for k in self._feed.find_suspects([items[k].assets for k in alike], windows)]
        for index in sorted(suspects):
            try:
                items[index] = self._settle(items[index])
            except InvalidError as error:
                raise error.inside(f"instances[{index}]") from None
        return items

    def switched(self, items: list[Market], on: frozenset[str]) -> list[Market]:
        """Want alerts and severities of what holds already, too."""
        return [replace(item, ongoing=True) for item in items]

    def find_unusual(self, items: Sequence[Market]) -> Sequence[Sequence[Unusual]]:
        """Return what was left out, and what the model learned from nothing like."""
        return [
            [*item.unusual, Unusual("prices", f"the answer is about {', '.join(item.assets)}")]
            if len(item.assets) < item.assets_sent
            else item.unusual
            for item in items
        ]

    def _read(self, fields: dict[str, Any]) -> Market:
        """Take a market as it was sent."""
        prices = fields.get("prices")
        if not isinstance(prices, dict):
            came = describe(prices) if "prices" in fields else "nothing"
            raise InvalidError("prices", "an object of hourly closes by asset", came)
        most = self.contract.limits["assets"]
        if missing := [name for name in LARGE if name not in prices]:
            expected = f"closes of {', '.join(LARGE)} and at least {LEAST_ASSETS - len(LARGE)} more"
            raise InvalidError(f"prices.{missing[0]}", expected, "nothing")
        if not LEAST_ASSETS <= len(prices) <= most:
            raise InvalidError("prices", f"{LEAST_ASSETS} to {most} assets", str(len(prices)))
        assets = (*LARGE, *sorted(name for name in prices if name not in LARGE))
        for name in assets:
            if not 0 < len(name) <= LONGEST_NAME:
                raise InvalidError(
                    f"prices.{name[:LONGEST_NAME]}", f"a name of 1 to {LONGEST_NAME} characters", describe(name)
                )
        context, odd = self._context(fields)
        sent = len(prices[LARGE[0]]) if isinstance(prices[LARGE[0]], list) else LOOKBACK_H
        # a series that is shorter than Bitcoin's, or null, is of an asset that was not there all the time
        short = [name for name in assets[len(LARGE) :] if _is_short(prices[name], sent)]
        whole = [name for name in assets if name not in short] if short else assets
        if len(whole) < LEAST_ASSETS:
            expected = f"{sent} hourly closes, as many as of {LARGE[0]}: {ENOUGH}, are needed"
            raise InvalidError(f"prices.{short[0]}", expected, describe(prices[short[0]]))
        window = self._window(whole, [prices[name] for name in whole])
        said = f"left out: expected {sent} hourly closes, as many as of {LARGE[0]}, got"
        left = [Unusual(f"prices.{name}", f"{said} {describe(prices[name])}") for name in short]
        return Market(
            assets=tuple(whole),
            window=window,
            context=context,
            time=_time(fields),
            sent=sent,
            assets_sent=len(assets),
            unusual=(*left, *odd),
        )

    def _context(self, fields: dict[str, Any]) -> tuple[tuple[float, ...], list[Unusual]]:
        """Take what is given beside prices, NaN where it is not, and what is unusual about it."""
        context, odd = [], []
        for feature, name in GIVEN.items():
            low, high = self.contract.possible.get(feature, WIDEST[feature])
            try:
                value = number(fields, name, -np.inf if low is None else low, np.inf if high is None else high, np.nan)
            except InvalidError as error:
                raise InvalidError(name, f"{error.expected} ({MEANING[feature]})", error.received) from None
            least, most = self.contract.usual.get(feature, (None, None))
            if (least is not None and value < least) or (most is not None and value > most):
                usual = " to ".join(f"{bound:.6g}" for bound in (least, most) if bound is not None)
                described = f"unusual: {usual} in what the model learned from, got {value:.6g}"
                odd.append(Unusual(name, f"{described} ({MEANING[feature]})"))
            context.append(value)
        return tuple(context), odd

    def _settle(self, market: Market) -> Market:
        """Leave out the assets that cannot be answered from, and say so."""
        kept, unusual = self._feed.settle(market.assets, market.window, market.sent)
        return replace(
            market,
            assets=tuple(market.assets[k] for k in kept),
            window=np.ascontiguousarray(market.window[:, kept]),
            unusual=(*market.unusual, *unusual),
        )

    def _window(self, assets: Sequence[str], closes: Sequence[Any]) -> NDArray[np.float64]:
        """Return the last 168 closes, [168, assets], having looked at all of them."""
        most = self.contract.limits["hours"]
        hours = len(closes[0]) if isinstance(closes[0], list) else LOOKBACK_H
        expected = f"an array of {LOOKBACK_H} to {most} hourly closes, as many as of {assets[0]}"
        for name, series in zip(assets, closes, strict=True):
            if not isinstance(series, list) or not LOOKBACK_H <= len(series) <= most or len(series) != hours:
                raise InvalidError(f"prices.{name}", expected, describe(series))
        values = list(itertools.chain.from_iterable(closes))
        # One pass over the types: numpy would read "1.5" and true as numbers.
        if not {*map(type, values)} <= NUMBERS:
            wrong = next(index for index, value in enumerate(values) if type(value) not in NUMBERS)
            where = f"prices.{assets[wrong // hours]}[{wrong % hours}]"
            raise InvalidError(where, "a number, or null if missing", describe(values[wrong]))
        table = np.array(values, np.float64).reshape(len(assets), hours)
        wrong_ones = (table < LOWEST) | (table > HIGHEST)  # NaN compares false
        if bool(wrong_ones.any()):
            asset, hour = np.argwhere(wrong_ones)[0].tolist()
            where, came = f"prices.{assets[asset]}[{hour}]", f"{table[asset, hour]:.6g}"
            if table[asset, hour] <= 0:
                came += " (are these returns rather than closes? null is a missing one)"
            raise InvalidError(where, f"a price from {LOWEST:.0e} to {HIGHEST:.0e}", came)
        return np.ascontiguousarray(table[:, -LOOKBACK_H:].T)

    def prepare(self, items: Sequence[Market]) -> dict[str, NDArray[Any]]:
        """Compute the features: ``features`` float32 [B, 18]; items with as many assets each are computed together."""
        for positions in _by_assets(items):
            alike = [items[k] for k in positions]
            windows = np.stack([item.window for item in alike])
            returns = returns_of(windows)
            rows = features(windows, np.array([item.context for item in alike]), returns)
            state = state_of(returns)
            readings, regimes = state.readings, state.regime.tolist()
            moving, tied = involvement(returns)
            for index, item in enumerate(alike):
                item.row, item.readings, item.regime = rows[index], readings[index], regimes[index]
                item.affected = _affected(item.assets, moving[index], tied[index])
        return {"features": np.stack([item.row for item in items])}

    def phrase(self, outputs: Outputs, items: Sequence[Market], top_k: Sequence[int]) -> list[Any]:
        """Return each item's questions, the most probable first."""
        probabilities = outputs["probabilities"]  # (B, 16)
        readings = np.stack([item.readings for item in items])
        readings = np.where(np.isnan(readings), 0.0, readings)[:, ALERT_OF]
        severe = self._peaks[:, 0] + self._peaks[:, 1] * readings
        state = ALERTS.index("REGIME_CHANGE_PENDING") != ALERT_OF  # of these alerts, an event's reading reaches 1
        already = state & (readings >= 1)
        news = ~already | np.array([[item.ongoing] for item in items])
        columns = (
            np.argsort(-probabilities, axis=1, kind="stable").tolist(),
            np.round(probabilities.astype(np.float64), 6).tolist(),
            (news & (probabilities >= self._alert_from)).tolist(),
            np.round(1 - outputs["spread"].astype(np.float64), 6).tolist(),
            (news * severities(probabilities, self._severe_from)).tolist(),
            np.round(np.maximum(severe, state), 4).tolist(),
            np.round(readings, 4).tolist(),
            already.tolist(),
        )
        return [_answer(item, most, *row) for item, most, *row in zip(items, top_k, *columns, strict=True)]

    def summarise(self, items: Sequence[Market], outputs: Outputs) -> NDArray[np.float32]:
        """Return each item's features, as `prepare` computed them."""
        return key_numbers(np.stack([item.row for item in items]), NAMES, self.contract.summary)

    def explain(self, item: Market) -> dict[str, Any]:
        """Attribute all sixteen probabilities to the features by occlusion (Zeiler & Fergus, 2014).

        Each feature in turn is replaced by its median at training time; what a probability loses by that is the
        feature's share. Features that say much the same hide each other: hidden alone, neither is missed. Costs one
        pass of 19 rows.
        """
        self.prepare([item])
        hidden = np.tile(item.row, (len(NAMES) + 1, 1))
        hidden[np.arange(1, len(hidden)), np.arange(len(NAMES))] = self._usual
        probabilities = self.engine.run({"features": hidden})["probabilities"].astype(np.float64)  # (19, 16)
        lost = np.round(probabilities[0] - probabilities[1:], 6)  # (18, 16)
        first = int(probabilities[0].argmax())
        shares = {label: dict(zip(NAMES, lost[:, k].tolist(), strict=True)) for k, label in enumerate(LABELS)}
        order = np.argsort(-np.abs(lost[:, first]), kind="stable").tolist()
        return {
            "method": "occlusion: the feature replaced by its median at training time",
            "label": LABELS[first],
            "attributions": {NAMES[k]: float(lost[k, first]) for k in order},
            "by_label": shares,
            "features": dict(zip(NAMES, item.row.astype(float).tolist(), strict=True)),
            "regime": REGIMES[item.regime],
        }


def _answer(
    item: Market,
    most: int,
    order: list[int],
    probabilities: list[float],
    given: list[bool],
    confidence: list[float],
    severity: list[int],
    estimate: list[float],
    reading: list[float],
    already: list[bool],
) -> list[dict[str, Any]]:
    """Phrase one item's answers to the questions, in an order, as many as were asked for."""
    answers = []
    later = {horizon: _later(item.time, horizon) for horizon in HORIZONS_H}
    for k in order[:most]:
        alert, horizon = QUESTIONS[k]
        answers.append(
            {
                "label": LABELS[k],
                "alert_type": alert,
                "horizon_h": horizon,
                "probability": probabilities[k],
                "alert": given[k],
                "confidence": confidence[k],
                "severity": SEVERITIES[severity[k]],
                "severity_estimate": estimate[k],
                "reading": reading[k],
                "already": already[k],
                "target_time": later[horizon],
                "assets_affected": item.affected[ALERT_OF[k]],
            }
        )
    return answers


def _affected(assets: Sequence[str], moving: NDArray[Any], tied: NDArray[Any]) -> tuple[list[str], ...]:
    """Return the assets each alert is about, in the order of `ALERTS`.

    Of volatility and regimes, those with more than their share of the last day's movement; of a correlation spike,
    those more tied to the others than assets are on average; of a breakdown, those less tied.
    """
    by_movement = [assets[k] for k in np.argsort(-moving, kind="stable").tolist() if moving[k] >= 1 / len(assets)]
    middle = tied.sum() / len(tied)
    order = np.argsort(-tied, kind="stable").tolist()
    tight = [assets[k] for k in order if tied[k] >= middle]
    loose = [assets[k] for k in reversed(order) if tied[k] < middle]
    return tight, by_movement, loose, by_movement


def _by_assets(items: Sequence[Market]) -> list[list[int]]:
    """Return the positions of items in groups of as many assets each."""
    groups: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(len(item.assets), []).append(index)
    return list(groups.values())


def _is_short(series: Any, hours: int) -> bool:
    """Tell whether an asset's series lacks a part of the hours, or all of them."""
    return series is None or (isinstance(series, list) and len(series) < hours)


def _time(fields: dict[str, Any]) -> datetime | None:
    """Take ``time``: an instant in ISO 8601, from 2009 to now; UTC where it names no zone."""
    value = fields.get("time")
    if value is None:
        return None
    expected = "an instant such as 2022-11-28T08:00:00Z"
    if type(value) is not str or not 16 <= len(value) <= 35:
        raise InvalidError("time", expected, describe(value))
    try:
        read = datetime.fromisoformat(value)
        instant = (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidError("time", expected, describe(value)) from None
    if instant.year < 2009 or instant > datetime.now(UTC) + AHEAD:
        expected = "an instant from 2009 to now (UTC where no zone is named)"
        raise InvalidError("time", expected, describe(value))
    return instant


def _later(time: datetime | None, hours: int) -> str | None:
    if time is None:
        return None
    return (time + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")

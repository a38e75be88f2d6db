"""Synthetic markets: hourly prices that move as recorded ones do, with nothing recorded in them.

Returns follow a factor model whose volatility and correlation are driven by a hidden regime:

- **Regimes** (calm, ordinary, stressed, dispersed) follow a Markov chain (Hamilton, 1989). Stress begins more often
  when funding is high, that is when many are in debt for the same bet; nothing else announces it.
- **Volatility** approaches its regime's level over hours, wanders over weeks, has a daily rhythm, answers large moves
  with more of them (clustering; Engle, 1982) and losses more than gains.
- **Correlation** does the same around its regime's level; smaller assets share a second factor, which comes and goes.
- **Shocks** have heavy tails (Student's t), and there are jumps, of one asset or of all.
- **Gaps**: hours in which no asset was traded, and a few in which one was not.

Funding follows recent gains every 8 hours; the Fear & Greed index follows gains and volatility daily and is known the
day after; sentiment and the caller's confidence are there in spells, and nearly all noise. Equal options give equal
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.market.windows import LARGE
from training.market.history import History

Floats = npt.NDArray[np.float64]

START: Final = np.datetime64("2022-01-01T00", "h")
OTHERS: Final = ("ALPHA", "BETA", "GAMMA", "DELTA", "KAPPA", "OMEGA", "SIGMA", "THETA", "ZETA", "CHI")

LEVELS: Final = np.array([[0.72, 0.66], [1.0, 0.68], [1.6, 0.84], [1.45, 0.45]])
"""Per regime: volatility, in units of the market's own, and correlation."""

STAY_H: Final = np.array([60.0, 50.0, 20.0, 16.0])
"""Mean duration of the regimes, in hours."""

NEXT: Final = np.array([[0, 0.85, 0.1, 0.05], [0.6, 0, 0.3, 0.1], [0.1, 0.8, 0, 0.1], [0.1, 0.8, 0.1, 0]])
"""Where each regime leads when it ends."""

HOURLY_VOLATILITY: Final = 0.0075


@dataclass(frozen=True)
class Synthesis:
    """What to make.

    Attributes
    ----------
    hours
        Length of the history.
    assets
        How many, 3 to 12.
    seed
        Of all chance.
    """

    hours: int = 12_000
    assets: int = 8
    seed: int = 0


def generate(synthesis: Synthesis) -> History:
    """Make a market.

    Raises
    ------
    ValueError
        If too many or too few assets are asked for.
    """
    most = len(LARGE) + len(OTHERS)
    if not 3 <= synthesis.assets <= most:
        raise ValueError(f"expected 3 to {most} assets, got {synthesis.assets}")
    chance = np.random.default_rng(synthesis.seed)
    hours = synthesis.hours
    shocks = _shocks(chance, hours, synthesis.assets)
    returns, funding, volatility = _walk(chance, shocks)
    prices = np.exp(np.cumsum(returns, axis=0)) * (20_000.0 / 4.0 ** np.arange(synthesis.assets))
    _lose_hours(chance, prices)
    market = returns.mean(axis=1)
    times = START + np.arange(1, hours + 1)
    context = np.stack([_fear_greed(chance, times, market, volatility), funding, *_opinions(chance, market)], axis=1)
    return History(times, (*LARGE, *OTHERS[: synthesis.assets - len(LARGE)]), prices, context)


@dataclass(frozen=True)
class _Shocks:
    """Standardised shocks before anything scales them: of the market, of the smaller assets, and of each asset."""

    market: Floats
    small: Floats
    own: Floats
    jumps: Floats


def _shocks(chance: np.random.Generator, hours: int, assets: int) -> _Shocks:
    def heavy(*shape: int) -> Floats:
        noise: Floats = np.asarray(chance.standard_t(4, shape)) / np.sqrt(2)  # of unit variance
        return noise

    jumps = np.where(chance.random((hours, assets)) < 1 / 400, chance.normal(0, 3.5, (hours, assets)), 0.0)
    common = np.where(chance.random(hours) < 1 / 250, chance.normal(-1, 3, hours), 0.0)
    return _Shocks(heavy(hours), heavy(hours), heavy(hours, assets), jumps + common[:, None])


def _walk(chance: np.random.Generator, shocks: _Shocks) -> tuple[Floats, Floats, Floats]:
    """Return hourly returns [hours, assets], the funding rate known at each hour, and the market's volatility."""
    hours, assets = shocks.own.shape
    betas = np.concatenate([[0.85, 1.0], chance.uniform(1.0, 1.5, assets - 2)])
    small = np.concatenate([[0.0, 0.2], np.ones(assets - 2)])
    wander = _wandering(chance, hours, 500, 0.4)
    flutter = _wandering(chance, hours, 8, 0.22)
    loose = _wandering(chance, hours, 12, 0.05)
    fashion = np.clip(0.15 + _wandering(chance, hours, 200, 0.08), 0.0, 0.4)  # the second factor's share
    rhythm = 0.22 * np.cos(2 * np.pi * (np.arange(hours) - 15) / 24)
    turns, choices, noise = chance.random((hours,)), chance.random((hours,)), chance.normal(0, 1, (hours,))
    ways = np.cumsum(NEXT, axis=1)

    returns, funding, volatility = np.empty((hours, assets)), np.empty(hours), np.empty(hours)
    regime, level, heat, correlation, rate, gains = 1, 0.0, 0.0, 0.7, 1e-4, 0.0
    for hour in range(hours):
        ending = 1 / STAY_H[regime] * (1 + 1.5 * max(0.0, np.tanh((rate - 2e-4) / 2e-4)))
        if turns[hour] < ending:
            regime = int(np.searchsorted(ways[regime], choices[hour]))
        level += (np.log(LEVELS[regime, 0]) - level) / 5
        correlation += (LEVELS[regime, 1] - correlation) / 6
        sigma = HOURLY_VOLATILITY * np.exp(level + heat + wander[hour] + flutter[hour] + rhythm[hour])
        shared = np.clip(correlation + loose[hour], 0.05, 0.97)
        second = (1 - shared) * fashion[hour]
        own = np.sqrt(1 - shared - second * small)
        moved = np.sqrt(shared) * shocks.market[hour] + np.sqrt(second * small) * shocks.small[hour]
        returns[hour] = sigma * betas * (moved + own * shocks.own[hour] + shocks.jumps[hour])
        common = returns[hour].mean() / (sigma * betas.mean())
        heat += -heat / 18 + 0.035 * (min(common * common, 9.0) - 1) - 0.025 * max(-3.0, min(common, 3.0))
        heat = min(heat, 1.2)
        gains += -gains / 72 + returns[hour].mean()
        if hour % 8 == 0:
            rate = float(np.clip(1e-4 + 3e-4 * np.tanh(gains / 0.08) + 8e-5 * noise[hour], -2e-3, 2e-3))
        funding[hour], volatility[hour] = rate, sigma
    return returns, funding, volatility


def _wandering(chance: np.random.Generator, hours: int, memory_h: float, spread: float) -> Floats:
    """Return an autoregressive path around zero that forgets over `memory_h` hours and has deviation `spread`."""
    keep = np.exp(-1 / memory_h)
    steps = chance.normal(0, float(spread * np.sqrt(1 - keep**2)), hours)
    path = np.empty(hours)
    value = chance.normal(0, spread)
    for hour in range(hours):
        value = keep * value + steps[hour]
        path[hour] = value
    return path


def _lose_hours(chance: np.random.Generator, prices: Floats) -> None:
    """Take closes away: an outage of all assets about every 2,000 h, and single ones of one asset."""
    hours, assets = prices.shape
    for start in chance.integers(0, hours, max(1, hours // 2000)):
        prices[start : start + chance.integers(1, 5)] = np.nan
    lost = max(1, hours // 1000)
    prices[chance.integers(0, hours, lost), chance.integers(0, assets, lost)] = np.nan


def _fear_greed(
    chance: np.random.Generator,
    times: npt.NDArray[np.datetime64],
    market: Floats,
    volatility: Floats,
) -> Floats:
    """Return the index of the day before at each hour; NaN on the first day."""
    day = (times.astype("datetime64[D]") - times[0].astype("datetime64[D]")).astype(int)
    days = int(day[-1]) + 1
    gain = np.bincount(day, weights=market, minlength=days)
    restless = np.bincount(day, weights=volatility, minlength=days) / np.bincount(day, minlength=days)
    month = np.convolve(gain, np.ones(30), "full")[:days]
    mood = 50 + 25 * np.tanh(month / 0.25) - 12 * (restless / HOURLY_VOLATILITY - 1) + chance.normal(0, 5, days)
    before = np.concatenate([[np.nan], np.round(np.clip(mood, 2, 98))[:-1]])
    known: Floats = before[day]
    return known


def _opinions(chance: np.random.Generator, market: Floats) -> tuple[Floats, Floats]:
    """Return sentiment and the caller's confidence, each there in spells of about two weeks."""
    hours = len(market)
    day = np.convolve(market, np.ones(24), "full")[:hours]
    sentiment = np.clip(0.4 * np.tanh(day / 0.03) + _wandering(chance, hours, 24, 0.25), -1, 1)
    confidence = np.clip(0.6 + _wandering(chance, hours, 48, 0.15), 0, 1)
    spells = -(-hours // 336)
    for series in (sentiment, confidence):
        there = np.repeat(chance.random(spells) < 0.6, 336)[:hours]
        series[~there] = np.nan
    return sentiment, confidence

"""What each view is written from: rows of code health, hours of a market, transactions of households."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from marina.features.errors import FeatureStoreError
from marina.features.store import FeatureStore, Written
from models.budget import household
from models.market.features import rolling
from models.market.windows import LOOKBACK_H

DAY_S = 86_400
JOINTS = {"project": "", "file": ":", "commit": "@"}
"""What stands between a repository's id and the path of a file or the hash of a commit."""


def write_code_health(
    store: FeatureStore,
    repository: str,
    kinds: Sequence[str],
    subjects: Sequence[str],
    moments_s: Sequence[float],
    features: npt.NDArray[np.float32],
) -> Written:
    """Write rows as scripts/extract_code_features.py makes them.

    Parameters
    ----------
    repository
        Its id.
    kinds, subjects, moments_s
        N each: project, file or commit; which one; seconds since 1970.
    features
        float32 [N, 35], NaN where missing.
    """
    entities = [
        repository if kind == "project" else f"{repository}{JOINTS[kind]}{subject}"
        for kind, subject in zip(kinds, subjects, strict=True)
    ]
    return store.write("code_health", entities, moments_s, features)


def write_market_windows(
    store: FeatureStore,
    market: str,
    times: npt.NDArray[np.datetime64],
    prices: npt.NDArray[np.float64],
    context: npt.NDArray[np.float64],
    last: int | None = 1,
) -> Written:
    """Write the window that ends at each of the last hours.

    Parameters
    ----------
    market
        Name of the set of assets.
    times
        datetime64 [hours], UTC, an hour apart: when each close was known.
    prices, context
        float [hours, assets] and [hours, 4], as `models.market.features.rolling` takes them.
    last
        How many hours; None: every one that has a whole week up to it.

    Raises
    ------
    FeatureStoreError
        When there is no whole week.
    """
    most = len(times) - LOOKBACK_H + 1
    if most < 1:
        raise FeatureStoreError(
            f"a window is {LOOKBACK_H} hourly closes; there are {len(times)}: give a longer history"
        )
    ends = np.arange(len(times) - (most if last is None else min(last, most)), len(times))
    moments_s = times[ends].astype("datetime64[s]").astype(np.int64).astype(np.float64)
    return store.write("market_window", [market] * len(ends), moments_s, rolling(prices, ends, context))


def write_households(
    store: FeatureStore,
    users: Sequence[str],
    days: npt.NDArray[np.int64],
    amounts: npt.NDArray[np.float64],
    merchants: npt.NDArray[Any],
    today: int | None = None,
) -> Written:
    """Write each household's profile at the end of a day.

    Parameters
    ----------
    users, days, amounts, merchants
        N each, a transaction each: whose, days since 1970-01-01, euros (negative is spent), and who was paid.
    today
        The day; default: the one of the household's last transaction.
    """
    names, owner = np.unique(np.asarray(users, dtype=object).astype(str), return_inverse=True)
    profiles, moments_s = [], []
    for number in range(len(names)):
        mine = owner == number
        day = int(days[mine].max()) if today is None else today
        profiles.append(household.profile(days[mine], amounts[mine], merchants[mine], day))
        moments_s.append(min(float(day * DAY_S + DAY_S - 1), time.time()))  # or now, where the day is not over
    return store.write("household", names.tolist(), moments_s, np.array(profiles).reshape(-1, len(household.NAMES)))

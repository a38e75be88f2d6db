"""The feature store, as everyone uses it.

    async with open_store(read_settings()) as store:                   # in a server: once, for its whole life
        vectors = await store.get("code_health", ["marina", "another"])
        vectors.values        # float32 [2, 35], in the order of vectors.view.features; NaN where missing
        vectors.states        # uint8 [2, 35]: State.MISSING, State.STALE or State.FRESH, of each value
        vectors.record(0, ["git", "code"])   # {"commit_frequency": {"value": 3.2, "state": "fresh"}, …} for JSON
        await asyncio.to_thread(store.write, "household", ["h-17"], [time.time()], profiles)   # database, then online

    store.read(view, entities)                             # as get, for a program without an event loop
    store.get_historical_features(view, entities, times)   # what was known of each entity at each time

With Redis (MARINA_ML_FEATURE_STORE_URL) reads that come together share a round trip. While Redis is unavailable, or
has not been filled yet, the database is read in its place; where neither answers, `FeatureStoreAwayError` says so.
Without a URL the database is the online store, too, and a vector may be a second old.
"""

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from marina.database.connection import Database
from marina.features import parity, samples
from marina.features.arguments import checked, micros, named, now
from marina.features.errors import FeatureStoreError, OnlineStoreAwayError
from marina.features.invalidations import Invalidations
from marina.features.joining import Found, Joiner
from marina.features.local_cache import UNKNOWN, LocalCache, Unknown
from marina.features.offline import OfflineStore
from marina.features.online import OnlineStore
from marina.features.redis_online import RedisOnline
from marina.features.vectors import Vectors
from marina.features.views import View, views_with
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.settings import Settings

EMBEDDED_S: Final = 1.0
"""How old a vector in memory may be where nothing says what is outdated."""

TEND_S: Final = 5.0
LOOK_S: Final = 600.0
"""How often to look whether the day's parity check is due."""

BATCH: Final = 1000


@dataclass(frozen=True)
class Written:
    """What came of writing.

    Attributes
    ----------
    rows, added
        How many were given, and how many of them said something new.
    online
        Whether the online store has them; where not, they follow by themselves as soon as it answers.
    """

    rows: int
    added: int
    online: bool


class FeatureStore:
    """Views of features, online and offline; see the head of this module.

    Parameters
    ----------
    database
        With its tables; it holds all there is.
    views
        By name.
    redis_url
        Where to serve from; empty: the database.
    cache_bytes
        What the cache of this process may hold.
    sample_share
        Share of the served vectors that is kept for the parity check.
    """

    def __init__(
        self, database: Database, views: dict[str, View], redis_url: str = "", cache_bytes: int = 0,
        sample_share: float = 0.0,
    ) -> None:  # fmt: skip
        self.offline = OfflineStore(database)
        self.cache = LocalCache(cache_bytes, None if redis_url else EMBEDDED_S)
        self.reads: Counter[str] = Counter()
        """Vectors served from: cache, redis, database."""
        self.database, self.views, self._url, self._share = database, views, redis_url, sample_share
        self._online: OnlineStore | None = RedisOnline(redis_url) if redis_url else None
        self._joiners: dict[str, Joiner] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()
        self._said_away = False
        self._samples: deque[samples.Sample] = deque(maxlen=samples.MOST_WAITING)
        if not redis_url:
            self.cache.open()

    async def get(self, view: str, entities: Sequence[str]) -> Vectors:
        """Read the newest vectors of some entities.

        Returns
        -------
        Vectors
            A row per entity, in their order; an entity nothing is known of has a row of missing values.

        Raises
        ------
        FeatureStoreError
            When there is no such view, or an entity's name is none.
        FeatureStoreAwayError
            When neither the online store nor the database answers.
        """
        known, entities = self.view(view), named(entities)
        if not self._tasks:
            self._start()
        found = [self.cache.get((view, entity)) for entity in entities]
        asked = [place for place, one in enumerate(found) if one is UNKNOWN]
        self.reads["cache"] += len(found) - len(asked)
        packed: list[bytes | None]
        if len(asked) == len(found):
            packed = await self._joiners[view].get(entities)
        else:
            packed = [None if isinstance(one, Unknown) else one for one in found]
            if asked:
                read = await self._joiners[view].get([entities[place] for place in asked])
                for place, one in zip(asked, read, strict=True):
                    packed[place] = one
        vectors = Vectors(known, entities, packed, now())
        if entities and random.random() < self._share:
            self._samples.append(samples.choose(vectors))
        return vectors

    def read(self, view: str, entities: Sequence[str]) -> Vectors:
        """Do as `get` does, from a program without an event loop; nothing is joined or cached."""
        known, entities = self.view(view), named(entities)
        found: Found | None = None
        if self._online is not None:
            with contextlib.suppress(OnlineStoreAwayError):
                found = self._online.read(known, entities)
        return Vectors(known, entities, self.offline.newest(known, entities) if found is None else found, now())

    def write(
        self,
        view: str,
        entities: Sequence[str],
        event_times: Sequence[float] | npt.NDArray[np.float64],
        values: npt.ArrayLike,
        known_at: float | None = None,
    ) -> Written:
        """Write vectors: to the offline store first, then to the online store, where the newest event stays.

        What was written before may be written again: nothing is added. Another vector for the same entity and event
        time is a correction.

        Parameters
        ----------
        event_times
            float64 [N], seconds since 1970: of when each vector is.
        values
            float [N, features], in the view's order; NaN where there is no value.
        known_at
            Seconds since 1970, of what was known earlier elsewhere. Default: now.

        Raises
        ------
        FeatureStoreError
            When something is no vector of this view, or of the future; then nothing is written.
        FeatureStoreAwayError
            When the database does not answer. Rows are written a thousand at a time: write all of them again.
        """
        known, names = self.view(view), named(entities)
        given = None if known_at is None else micros(known_at)
        events, table = checked(known, names, event_times, values, given or now())
        added, online = 0, True
        for start in range(0, len(names), BATCH):
            part = slice(start, start + BATCH)
            packed, new, note = self.offline.append(
                known, names[part], events[part], table[part], given, self._online is not None
            )
            added += new
            online &= self._put(known, names[part], packed, note)
        return Written(len(names), added, online)

    def get_historical_features(
        self,
        view: str,
        entities: Sequence[str],
        times: Sequence[float] | npt.NDArray[np.float64],
        as_known_at: float | None = None,
    ) -> Vectors:
        """Join entities and times with what was known then: the rows a model would have been served.

        Parameters
        ----------
        entities, times
            N each, seconds since 1970.
        as_known_at
            Use all that was known at this moment, in place of what was known at each time: for history that was
            written later than it happened.

        Returns
        -------
        Vectors
            A row each. The event time is at most the time, and so is the known time, unless `as_known_at` is given.

        Raises
        ------
        FeatureStoreError
            When there is no such view, or the two are not of one length.
        """
        known, names = self.view(view), named(entities)
        at = np.array([micros(float(time_s)) for time_s in times], np.int64)
        if len(at) != len(names):
            raise FeatureStoreError(f"expected a time per entity, got {len(names)} entities and {len(at)} times")
        travelled = None if as_known_at is None else micros(as_known_at)
        return Vectors(known, names, self.offline.as_of(known, names, at, travelled), at)

    def refill(self, view: str) -> int:
        """Bring the newest vector of every entity to the online store; return how many it lacked.

        Raises
        ------
        FeatureStoreAwayError
            When the database does not answer.
        OnlineStoreAwayError
            When Redis does not.
        """
        known = self.view(view)
        if self._online is None:
            return 0
        token, put = self._online.begin_filling(known), 0
        names = self.offline.entities(known)
        for start in range(0, len(names), BATCH):
            put += self._put_newest(known, names[start : start + BATCH])
        if not self._online.end_filling(known, token):
            raise OnlineStoreAwayError("Redis was emptied while it was being filled; it will be filled again")
        return put

    def catch_up(self, view: str, before: float | None = None) -> int:
        """Bring over what was appended and did not reach the online store; return how many notes said so."""
        known = self.view(view)
        waiting = self.offline.waiting(known, time.time() - TEND_S if before is None else before)
        for note, names in waiting:
            self._put_newest(known, names)
            self.offline.forget_waiting([note])
        return len(waiting)

    def view(self, view: str) -> View:
        """Return a view by its name.

        Raises
        ------
        FeatureStoreError
            When there is none.
        """
        if view not in self.views:
            raise FeatureStoreError(f"no feature view {view!r}; there are {', '.join(self.views)}")
        return self.views[view]

    async def aclose(self) -> None:
        """End what runs in the background, and let go of every connection but the database's."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for joiner in self._joiners.values():
            await joiner.close()
        self._keep_samples()
        if self._online is not None:
            await self._online.close()

    async def __aenter__(self) -> "FeatureStore":
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _start(self) -> None:
        self._joiners = {known.name: Joiner(partial(self._fetch, known)) for known in self.views.values()}
        self._tasks = [asyncio.create_task(self._tend())]
        if isinstance(self._online, RedisOnline):
            self._tasks.append(asyncio.create_task(Invalidations(self._url, self._online, self.cache).run()))

    async def _fetch(self, view: View, entities: Sequence[str]) -> Found:
        """Read from Redis, or else from the database; fill the cache."""
        reading = self.cache.begin()
        found: Found | None = None
        try:
            if self._online is not None:
                found = await self._from_redis(view, entities)
            if found is None:
                found = await asyncio.to_thread(self.offline.newest, view, entities)
                self.reads["database"] += len(entities)
                if self._online is not None:
                    return found  # nothing says when it is outdated
            found = [one if view.holds(one) else None for one in found]
            if reading is not None:
                self.cache.end(reading, zip([(view.name, entity) for entity in entities], found, strict=True))
            return found
        finally:
            self.cache.end(reading, ())

    async def _from_redis(self, view: View, entities: Sequence[str]) -> Found | None:
        assert self._online is not None
        try:
            found = await self._online.fetch(view, entities)
        except OnlineStoreAwayError as error:
            if not self._said_away and self.reads["redis"]:
                log(f"features: {error}", sys.stderr)
                self._said_away = True
            return None
        if found is None:
            self._wanted.add(view.name)
            self._wake.set()
            return None
        self._said_away = False
        self.reads["redis"] += len(entities)
        return found

    async def _tend(self) -> None:
        """Fill Redis where it is not, bring over what it lacks, keep samples and compare them daily."""
        compare_at = time.monotonic() + LOOK_S
        guard = Guard(lambda text: log(f"features: {text}", sys.stderr))
        away = (FeatureStoreError,)  # the next read says so again, and the next round tries again
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TEND_S)
            self._wake.clear()
            wanted, self._wanted = self._wanted, set()
            for view in self.views if self._online is not None else ():
                with contextlib.suppress(*away), guard.part(f"filling Redis with {view}", away):
                    if view in wanted:
                        await asyncio.to_thread(self.refill, view)
                    await asyncio.to_thread(self.catch_up, view)
            with guard.part("keeping samples"):
                await asyncio.to_thread(self._keep_samples)
            if self._share and time.monotonic() > compare_at:
                compare_at = time.monotonic() + LOOK_S
                with contextlib.suppress(*away), guard.part("comparing samples", away):
                    await asyncio.to_thread(parity.check_daily, self.database, self.views)

    def _keep_samples(self) -> None:
        taken = [self._samples.popleft() for _ in range(len(self._samples))]
        samples.keep(self.database, taken)

    def _put(self, view: View, names: Sequence[str], packed: Sequence[bytes], note: str) -> bool:
        try:
            if self._online is not None:
                self._online.put(view, names, packed)
        except OnlineStoreAwayError:
            return False
        finally:
            for one in names:
                self.cache.drop((view.name, one))
        if self._online is not None:
            self.offline.forget_waiting([note])
        return True

    def _put_newest(self, view: View, names: Sequence[str]) -> int:
        assert self._online is not None
        found = zip(names, self.offline.newest(view, names), strict=True)
        there = [(entity, packed) for entity, packed in found if packed is not None]
        return self._online.put(view, [entity for entity, _ in there], [packed for _, packed in there])


def open_store(settings: Settings, database: Database | None = None) -> FeatureStore:
    """Return the store that the settings describe; nothing is connected yet.

    Parameters
    ----------
    database
        The one in use, with its tables; default: the settings' own, brought to its newest state.

    Raises
    ------
    DatabaseError
        When the database is not there.
    FeatureStoreError
        When a setting names no view.
    """
    views = views_with(settings.ml_feature_ttl_s)
    if database is None:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database)
        database.upgrade()
    url = settings.ml_feature_store_url.get_secret_value()
    return FeatureStore(database, views, url, settings.ml_feature_cache_bytes, settings.ml_feature_parity_share)

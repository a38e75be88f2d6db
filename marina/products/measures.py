"""What the products' interface counts, kept in the database for /metrics (marina/monitoring/product_metrics.py)."""

import functools
import json
import time
from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from marina.database.connection import AWAY, Database
from marina.database.product_tables import PRODUCT_TOTALS
from marina.products.answer_cache import AnswerCache

SAVE_S = 10.0

Series = tuple[str, str]
"""A metric's name, and its labels as a JSON object."""


@functools.lru_cache(maxsize=4096)  # of every request
def series(name: str, **labels: str) -> Series:
    """Return a series' key."""
    return name, json.dumps(labels, sort_keys=True)


class Measures:
    """Counters that continue where they stood, and gauges.

    Parameters
    ----------
    database
        Where they are kept.
    replica
        Under whose name.
    cache
        Whose counts are among them.
    """

    def __init__(self, database: Database, replica: str, cache: AnswerCache) -> None:
        self._database = database
        self._replica = replica
        self._cache = cache
        self._before: dict[Series, float] | None = None
        self._counted: Counter[Series] = Counter()

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._counted[series("marina_product_requests_total", route=route, status=str(status))] += 1
        self._counted[series("marina_product_seconds_total", route=route)] += seconds  # type: ignore[assignment]

    def totals(self) -> dict[Series, float]:
        """Return the counters, which continue those from before this process."""
        now: dict[Series, float] = dict(self._counted)
        for (level, outcome), count in dict(self._cache.counts).items():
            now[series("marina_answer_cache_total", level=level, outcome=outcome)] = count
        now[series("marina_answer_cache_evicted_total", level="memory")] = self._cache.memory.evicted
        if self._cache.shared is not None:
            now[series("marina_answer_cache_errors_total", level="redis")] = self._cache.shared.errors
        for key, value in (self._before or {}).items():
            now[key] = now.get(key, 0.0) + value
        return now

    def gauges(self) -> dict[Series, float]:
        """Return what is so now."""
        found = {
            series("marina_answer_cache_bytes", level="memory"): float(self._cache.memory.bytes),
            series("marina_answer_cache_entries", level="memory"): float(len(self._cache.memory)),
        }
        if self._cache.shared is not None:
            found[series("marina_answer_cache_up", level="redis")] = float(not self._cache.shared.open)
        return found

    def save(self) -> None:
        """Keep them; while the database is unavailable they are counted further."""
        try:
            self._save()
        except AWAY:
            return

    def _save(self) -> None:
        now, given = time.time(), PRODUCT_TOTALS.c
        with self._database.writing() as connection:
            if self._before is None:
                kept = connection.execute(sa.select(PRODUCT_TOTALS).where(given.replica == self._replica))
                self._before = {(row.name, row.labels): row.value for row in kept if row.name.endswith("_total")}
            rows: Mapping[Series, float] = {**self.totals(), **self.gauges()}
            self._database.put(
                connection,
                PRODUCT_TOTALS,
                [
                    {"replica": self._replica, "name": name, "labels": labels, "value": float(value), "time": now}
                    for (name, labels), value in rows.items()
                ],
            )


class Counting:
    """Middleware that counts each request by its route and status."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.perf_counter()

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watching)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._measures.count(str(route), status, time.perf_counter() - begun)

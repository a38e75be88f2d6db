"""``GET /api/features/{repo_id}?groups=git,code``: what the feature store has of a repository, missing and stale named.

    application.include_router(routes(store, FeatureStoreAwayError))

The answer is what `marina.client` reads (its README is the contract)::

    {"repo_id": "marina", "groups": ["git", "code"], "event_time": 1795816800.0,
     "features": {"commit_frequency": {"value": 3.2, "state": "fresh"}, "churn": {"value": null, "state": "missing"}}}
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from archives.errors import MarinaError

VIEW = "code_health"
LONGEST = 200
RETRY_S = 2


class Rows(Protocol):
    """What a store read, a row per entity."""

    @property
    def event_times(self) -> npt.NDArray[np.float64]:
        """Of when each row is, in seconds since 1970; NaN where there is none."""

    def record(self, row: int, groups: Iterable[str] | None = None) -> Mapping[str, Mapping[str, Any]]:
        """Return one row: by feature its ``value`` and ``state``; a `MarinaError` where there is no such group."""


class Store(Protocol):
    """A feature store, as far as it is needed here."""

    async def get(self, view: str, entities: Sequence[str]) -> Rows:
        """Read the newest vectors; a `MarinaError` where that cannot be."""

    def view(self, view: str) -> Any:
        """Return a view, which has its ``groups`` by name."""


def routes(store: Store, away: type[MarinaError]) -> APIRouter:
    """Return the route over a store.

    Parameters
    ----------
    away
        What the store raises while it is unavailable: 503. Any other `MarinaError` of its is the caller's fault: 422.
    """
    router = APIRouter(tags=["features"])

    @router.get("/api/features/{repo_id}")
    async def features(
        request: Request,
        repo_id: Annotated[str, Path(min_length=1, max_length=LONGEST)],
        groups: Annotated[str, Query(max_length=LONGEST, description="Names, with commas between; default: all.")] = "",
    ) -> Response:
        """Return a repository's features, each with its state."""
        known = list(store.view(VIEW).groups)
        wanted = [one.strip() for one in groups.split(",") if one.strip()] or known
        if unknown := [one for one in wanted if one not in known]:
            return _refuse(request, 422, "invalid", f"groups: expected some of {', '.join(known)}, got {unknown[0]!r}")
        try:
            rows = await store.get(VIEW, [repo_id])
        except away as error:
            return _refuse(request, 503, "features_away", str(error))
        except MarinaError as error:
            return _refuse(request, 422, "invalid", f"repo_id: {error}")
        event_time = float(rows.event_times[0])
        if not math.isfinite(event_time):
            message = f"Nothing is known of {repo_id!r}; scripts/extract_code_features.py --to-store writes features."
            return _refuse(request, 404, "unknown_repository", message)
        said = rows.record(0, wanted)
        return JSONResponse({"repo_id": repo_id, "groups": wanted, "event_time": event_time, "features": said})

    return router


def _refuse(request: Request, status: int, code: str, message: str) -> Response:
    ident = request.headers.get("x-request-id", "")
    headers = {"Retry-After": str(RETRY_S)} if status == 503 else None
    return JSONResponse({"error": {"code": code, "message": message, "request_id": ident}}, status, headers)

"""The HTTP side of the database: labels in, numbers out. The gateway passes both on.

    python -m marina.events.api

It listens on ``events.sock`` in the folder that MARINA_RUN_DIR names. ``POST /feedback`` takes ``{"request_id",
"label", "instance"}`` (the instance is 0 unless given), with ``truth`` in the place of ``label`` where an answer is no
single label (marina/events/truths.py), or up to 1000 of these as ``{"labels": [...]}``, and answers 200 with an outcome
for each (marina/events/labels.py) once all are committed; 422 where some are no classes of the model and were not kept
(marina/events/unknown_labels.py); 429 where more come than are taken, and 503 whatever the database's trouble: send the
same again. Whose labels they are the gateway says in ``X-Source``. ``GET /metrics`` is for Prometheus
(marina/events/metrics.py).
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from marina.database.connection import AWAY, Database, DatabaseError
from marina.database.outage import Outage
from marina.events.exposition import CONTENT_TYPE
from marina.events.feedback import FeedbackError, read_labels
from marina.events.label_queue import FullError, LabelQueue
from marina.events.labels import LONGEST_SOURCE, Label, record
from marina.events.metrics import Metrics
from marina.events.unknown_labels import UnknownLabel, describe_unknown
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.settings import Settings, read_settings

AGAIN_S = 2
"""When to try again while the database is unavailable."""

ROOM_AGAIN_S, EARLY_AGAIN_S = 1, 10
"""When to try again when too many labels are on their way, or wait for their answers."""

WAIT_MS = 2000
"""How long a transaction waits for SQLite's other writers; then its labels are refused."""

LARGEST_BODY = 2 * 1024 * 1024
"""A thousand of the longest labels."""

NICE = 10
"""Those who send labels wait for those who send requests: beside busy others it has a tenth of a core."""

STOP_S = 2
"""How long requests in flight may take when it is asked to stop."""


def application(
    database: Database,
    share: float = 1.0,
    metrics: Metrics | None = None,
    replica: str = "",
    more: Sequence[Route] = (),
) -> Starlette:
    """Return the application.

    Parameters
    ----------
    share
        Of the answers that are logged.
    metrics
        What ``GET /metrics`` writes; None: what releases are judged by, counted from now on.
    replica
        The server's name, under which it is kept where its counters stand; empty: they begin with the process.
    more
        What else is answered here.
    """
    metrics, scraping = metrics or Metrics(time.time()), threading.Lock()
    restored = not replica
    outage = Outage(_log, "labels are refused with 503")
    queue = LabelQueue(lambda labels: record(database, labels, time.time(), share))

    def describe(labels: Sequence[Label], places: Sequence[int]) -> list[UnknownLabel]:
        with database.reading() as connection:
            return describe_unknown(connection, labels, places)

    async def feedback(request: Request) -> Response:
        source = request.headers.get("x-source", "")[:LONGEST_SOURCE]
        labels = read_labels(await _body(request), source)
        outcomes = await asyncio.wrap_future(queue.put(source, labels))
        outage.end()
        metrics.count_feedback(source, outcomes)
        summary: dict[str, Any] = {"outcomes": outcomes, "counts": Counter(outcomes)}
        unknown = [place for place, outcome in enumerate(outcomes) if outcome == "unknown"]
        if unknown:
            found = await run_in_threadpool(describe, labels, unknown)
            summary["unknown"] = [one.to_dict() for one in found]
        if "refused" not in outcomes:
            if not unknown:
                return JSONResponse(summary)
            error = found[0].error(of=len(labels))
            return JSONResponse({**error.body(_request_id(request)), **summary}, 422)
        message = (
            "Too many labels wait for answers that are not there. Send the same again; what was kept is a duplicate."
        )
        full_up = {"code": "too_many_early_labels", "message": message, "request_id": _request_id(request)}
        return JSONResponse({"error": full_up, **summary}, 429, {"Retry-After": str(EARLY_AGAIN_S)})

    def scrape(_: Request) -> Response:
        nonlocal restored
        with scraping:
            with database.reading() as connection:
                if not restored:
                    metrics.restore(connection, replica)
                    restored = True
                text = metrics.text(connection, time.time())
            if replica:
                with contextlib.suppress(*AWAY):  # then they are kept a minute later
                    metrics.save(database, replica, time.time())
        outage.end()
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    def full(request: Request, _: Exception) -> Response:
        message = f"More labels come than are taken. Send the same again in {ROOM_AGAIN_S} seconds."
        return _error(request, 429, "too_many_labels", message, {"Retry-After": str(ROOM_AGAIN_S)})

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, FeedbackError)
        return JSONResponse(error.body(_request_id(request)), error.status)

    def away(request: Request, error: Exception) -> Response:
        outage.begin(error)
        message = (
            f"The database is unavailable. Send the same again in {AGAIN_S} seconds; what was kept is a duplicate then."
        )
        return _error(request, 503, "database_away", message, {"Retry-After": str(AGAIN_S)})

    def not_here(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = "Here are POST /feedback and GET /metrics."
        return _error(request, error.status_code, "no_such_path", message, error.headers)

    handlers: dict[Any, Callable[[Request, Exception], Response]] = {
        FeedbackError: refused, FullError: full, HTTPException: not_here, sa.exc.SQLAlchemyError: away
    }  # fmt: skip
    return Starlette(
        routes=[Route("/feedback", feedback, methods=["POST"]), Route("/metrics", scrape, methods=["GET"]), *more],
        exception_handlers=handlers,
    )


async def _body(request: Request) -> bytes:
    """Read a body that has labels in it; more is not even waited for."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        if (size := size + len(part)) > LARGEST_BODY:
            raise FeedbackError(413, "body", f"at most {LARGEST_BODY} bytes", "more")
    return b"".join(parts)


def _log(text: str) -> None:
    log(f"events api: {text}", sys.stderr)


def _request_id(request: Request) -> str:
    return request.headers.get("x-request-id", "")


def _error(request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None) -> Response:
    body = {"error": {"code": code, "message": message, "request_id": _request_id(request)}}
    return JSONResponse(body, status, headers)


def serve(make: Callable[[Database, Settings], Starlette]) -> int:
    """Answer with the application that is made, until SIGTERM or SIGINT; return the exit status."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # uvicorn raises it again once nothing is in flight
    step_aside(NICE)
    settings = read_settings()
    try:
        database = Database(settings.database, WAIT_MS)
    except DatabaseError as error:
        _log(str(error))
        return 1
    socket = Path(os.environ["MARINA_RUN_DIR"]) / "events.sock"
    uvicorn.run(
        make(database, settings),
        uds=str(socket),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
    )
    return 0


def main() -> int:
    """Answer labels and scrapes until SIGTERM or SIGINT."""
    return serve(lambda database, settings: application(database, settings.log_share, replica=settings.replica_name))


if __name__ == "__main__":
    sys.exit(main())

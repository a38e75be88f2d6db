"""The HTTP side of the database: labels in, numbers out. The gateway passes both on.

    python -m events.api

It listens on ``events.sock`` in the folder that MARINA_RUN_DIR names. ``POST /feedback`` takes
``{"request_id", "label", "instance"}`` (the instance is 0 unless given), or up to 1000 of these as
``{"labels": [...]}``, and answers 200 with an outcome for each (events/labels.py) once all are committed. While the
database is away it answers 503: send the same again. ``GET /metrics`` is for Prometheus (events/metrics.py).
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from events.database import AWAY, Database, DatabaseError
from events.feedback import FeedbackError, read_labels
from events.labels import record
from events.metrics import CONTENT_TYPE, Metrics
from events.outage import Outage
from settings import Settings

AGAIN_S = 2
"""When to try again while the database is away."""

STOP_S = 2
"""How long requests in hand may take when it is told to stop."""


def application(database: Database) -> Starlette:
    """Return the application."""
    metrics, scraping = Metrics(time.time()), threading.Lock()
    outage = Outage(_say, "labels are refused with 503")

    async def feedback(request: Request) -> Response:
        labels = read_labels(await request.body())
        outcomes = await run_in_threadpool(record, database, labels, time.time())
        outage.end()
        return JSONResponse({"outcomes": outcomes, "counts": Counter(outcomes)})

    def scrape(_: Request) -> Response:
        with scraping, database.reading() as connection:
            text = metrics.text(connection, time.time())
        outage.end()
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, FeedbackError)
        return JSONResponse(error.body(_request_id(request)), error.status)

    def away(request: Request, error: Exception) -> Response:
        outage.begin(error)
        message = f"The database is away. Send the same again in {AGAIN_S} seconds; what was kept is a duplicate then."
        return _error(request, 503, "database_away", message, {"Retry-After": str(AGAIN_S)})

    def not_here(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = "Here are POST /feedback and GET /metrics."
        return _error(request, error.status_code, "no_such_path", message, error.headers)

    return Starlette(
        routes=[Route("/feedback", feedback, methods=["POST"]), Route("/metrics", scrape, methods=["GET"])],
        exception_handlers={FeedbackError: refused, HTTPException: not_here, **dict.fromkeys(AWAY, away)},
    )


def _say(text: str) -> None:
    print(f"events api: {text}", file=sys.stderr, flush=True)


def _request_id(request: Request) -> str:
    return request.headers.get("x-request-id", "")


def _error(request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None) -> Response:
    body = {"error": {"code": code, "message": message, "request_id": _request_id(request)}}
    return JSONResponse(body, status, headers)


def main() -> int:
    """Answer until SIGTERM or SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # uvicorn raises it again once nothing is in hand
    try:
        database = Database(Settings().database)
    except DatabaseError as error:
        _say(str(error))
        return 1
    socket = Path(os.environ["MARINA_RUN_DIR"]) / "events.sock"
    uvicorn.run(
        application(database), uds=str(socket), log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_S
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

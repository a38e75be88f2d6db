"""The calls of TorchServe's management API that change something: POST, PUT and DELETE below ``/models``.

The gateway sends them here, to ``changes.sock`` in the run folder, once it has checked the token; what only reads goes
to TorchServe. Answers have TorchServe's form, ``{"status": "..."}``, errors the gateway's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archives.errors import MarinaError
from marina.database.connection import Database, DatabaseError
from marina.database.tables import DECLARATIONS
from marina.processes.console import log
from marina.releases import replica_status
from marina.releases.declarations import Declared
from marina.rollout import management_commands
from marina.rollout.management_commands import ManagementError
from marina.settings import Settings

WHO = "management API"
"""Who did it, for the ledger."""

LOAD_S = 120.0
"""How long a synchronous registration waits."""

LOOK_S = 0.2
STOP_S = 2.0
AGAIN_S = 2

BY_ARCHIVE = {
    "batch_size": "batchSize", "max_batch_delay": "maxBatchDelay", "response_timeout": "responseTimeout",
    "startup_timeout": "startupTimeout",
}  # fmt: skip
"""What an archive says of itself, in its model-config.yaml, and a call therefore cannot."""


def application(database: Database, settings: Settings) -> Starlette:
    """Return the application."""

    def register(request: Request) -> Response:
        query = _read(request, "url", "model_name", "initial_workers", "synchronous")
        if "url" not in query:
            raise ManagementError(400, "bad_query", "Name an archive of the store: POST /models?url=NAME.mar")
        workers = _number(query, "initial_workers") or 0
        one = management_commands.register(database, settings, query["url"], workers, WHO, time.time())
        known_as = query.get("model_name", one.model)
        note = "" if known_as == one.model else f' An archive keeps its name: it is served as "{one.model}".'
        what = f'Model "{one.model}" Version: {one.version} registered.{note}'
        if one.weight == 0:
            what += f" It has no traffic yet: PUT /models/{one.model}/{one.version}/set-default gives it all."
        if query.get("synchronous") == "true":
            _wait_until_ready(database, one)
            return _status(200, f"{what} It is ready.")
        return _status(202, f"{what} It is loading; GET /models/{one.model}/{one.version} lists its workers.")

    def scale(request: Request) -> Response:
        query = _read(request, "min_worker", "max_worker", "synchronous", "timeout")
        least, most = _number(query, "min_worker"), _number(query, "max_worker")
        workers = most if least is None else least
        if workers is None or (most is not None and most != workers):
            raise ManagementError(
                400, "bad_workers", "A version has a fixed number of workers: give min_worker=N, or both alike."
            )
        model, version = _named(request)
        chosen = management_commands.scale(database, model, version, workers, WHO, time.time())
        return _status(202, f"{model} {chosen} gets {workers} workers, after a restart too.")

    def set_default(request: Request) -> Response:
        _read(request)
        model, version = _named(request)
        rollout = management_commands.set_default(database, settings, model, str(version), WHO, time.time())
        if rollout is None:
            return _status(200, f'Version "{version}" of "{model}" has all of the traffic.')
        what = f'"{model}" changes from {rollout.stable} to {version} as soon as that is ready: rollout {rollout.id}.'
        return _status(202, f"{what} Watch it with scripts/monitor_canary.py, undo it with scripts/rollback.py.")

    def unregister(request: Request) -> Response:
        _read(request, "synchronous", "timeout")
        model, version = _named(request)
        found = management_commands.unregister(database, model, version, WHO, time.time())
        what = f'Model "{model}" Version: {found} unregistered'
        if os.path.isfile(settings.archive_store / f"{model}-{found}.mar") and not _is_served(database, model):
            what += f". A start serves what the store has: move {model}-{found}.mar away to stop that, too."
        return _status(200, what)

    def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, ManagementError):
            return _error(request, error.status, error.code, str(error))
        if isinstance(error, sa.exc.SQLAlchemyError | DatabaseError):
            message = f"The database is unavailable, and nothing was changed. Try again in {AGAIN_S} seconds."
            return _error(request, 503, "database_away", message, {"Retry-After": str(AGAIN_S)})
        if isinstance(error, MarinaError):
            return _error(request, 409, "refused", str(error))
        log(f"management: {error!r}")
        return _error(request, 500, "failed", "This could not be done; the controller's log says why.")

    def not_here(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = "POST /models?url=NAME.mar, PUT and DELETE /models/MODEL[/VERSION], PUT …/set-default are possible."
        return _error(request, error.status_code, "no_such_call", message, dict(error.headers or {}))

    handlers: dict[Any, Callable[[Request, Exception], Response]] = {
        MarinaError: refuse, sa.exc.SQLAlchemyError: refuse, OSError: refuse, HTTPException: not_here
    }  # fmt: skip
    version = "/models/{model}/{version}"
    served = Starlette(
        routes=[
            Route("/models", register, methods=["POST"]),
            Route("/models/{model}", scale, methods=["PUT"]),
            Route("/models/{model}", unregister, methods=["DELETE"]),
            Route(version, scale, methods=["PUT"]),
            Route(version, unregister, methods=["DELETE"]),
            Route(f"{version}/set-default", set_default, methods=["PUT"]),
        ],
        exception_handlers=handlers,
    )
    served.router.redirect_slashes = False  # the host it would name is no client's
    return served


class ManagementApi:
    """The application in a thread of its own, until it is stopped."""

    def __init__(self, database: Database, settings: Settings, socket: Path) -> None:
        config = uvicorn.Config(
            application(database, settings),
            uds=str(socket),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(STOP_S),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="management", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more calls, and let those in progress end."""
        self._server.should_exit = True
        self._thread.join(STOP_S + 1)


def _read(request: Request, *known: str) -> dict[str, str]:
    """Return the query's parameters; another than the `known` ones is refused, with what is done instead."""
    query = dict(request.query_params)
    for name in query:
        if name in known:
            continue
        if name in BY_ARCHIVE:
            message = (
                f"{name}: an archive says so itself, as {BY_ARCHIVE[name]} in its model-config.yaml, so that every "
                "server runs it alike. Build it with another value."
            )
        else:
            message = f"{name}: expected {', '.join(known) or 'no parameters'} in this call."
        raise ManagementError(400, "bad_query", message)
    return query


def _number(query: dict[str, str], name: str) -> int | None:
    return int(query[name]) if name in query else None  # the gateway passes digits alone


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _wait_until_ready(database: Database, one: Declared) -> None:
    """Wait until some server has a version ready.

    Raises
    ------
    ManagementError
        When one refuses it, or that takes longer than `LOAD_S`.
    """
    end = time.monotonic() + LOAD_S
    while time.monotonic() < end:
        with database.reading() as connection:
            seen = replica_status.read(connection, one.model)
        if refusals := seen.refusals(one.version):
            raise ManagementError(
                409, "model_refused",
                f"{one} is registered, and refused: {'; '.join(refusals)}. "
                f"Remove it: DELETE /models/{one.model}/{one.version}",
            )  # fmt: skip
        if seen.is_ready(one.version):
            return
        time.sleep(LOOK_S)
    raise ManagementError(
        409, "not_ready", f"{one} is registered, and not ready after {LOAD_S:g} s. GET /ping says how it stands."
    )


def _is_served(database: Database, model: str) -> bool:
    with database.reading() as connection:
        chosen = sa.select(DECLARATIONS.c.version).where(DECLARATIONS.c.model == model).limit(1)
        return connection.execute(chosen).first() is not None


def _status(status: int, message: str) -> Response:
    return JSONResponse({"status": message}, status)


def _error(request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"code": code, "message": message, "request_id": request.headers.get("x-request-id", "")}
    return JSONResponse({"error": error}, status, headers)

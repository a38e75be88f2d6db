"""Where MLflow keeps runs and registered versions: the server that ``MLFLOW_TRACKING_URI`` names, else local SQLite.

Code that talks to MLflow imports this module first: it keeps MLflow from reporting its use to its makers, and from
asking an unavailable server for many minutes. A local database is made by one process, whole or not at all.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from archives.errors import MarinaError
from archives.tracking_database import DatabaseFault, prepare

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

URI: Final = "MLFLOW_TRACKING_URI"
ANSWERS_S: Final = (5.0, 20.0)
"""How long a server may take to be reached, and then to answer at all."""

PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Of the databases that MLflow takes, where a URI names none."""


class TrackingStoreError(MarinaError):
    """MLflow cannot keep or find what it should; the message says what to do."""


def connect(home: Path) -> tuple[Any, str | None]:
    """Return an ``MlflowClient``, and where its new experiments keep artifacts if that is for us to say.

    Parameters
    ----------
    home
        Folder of the local database and artifacts, made where it is missing; not touched when a server is named.

    Raises
    ------
    TrackingStoreError
        If the server does not answer, or the database cannot be made, or is of another version of MLflow.
    """
    from mlflow import MlflowClient  # slow to import

    uri, artifacts = os.environ.get(URI), None
    with explained():
        if not uri:
            home = home.resolve()
            uri, artifacts = f"sqlite:///{home / 'mlflow.db'}", (home / "mlflow").as_uri()
        if uri.startswith("sqlite:"):
            prepare(uri, MlflowClient)
        elif uri.startswith(("http:", "https:")):
            _find_server(uri)
        else:
            _find_database(uri)
        return MlflowClient(uri), artifacts


@contextmanager
def explained() -> Iterator[None]:
    """Turn what MLflow and its database raise into words for the person who meets it.

    Raises
    ------
    TrackingStoreError
        In place of an error of MLflow, its database or its server.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except DatabaseFault as error:
        raise TrackingStoreError(str(error)) from error
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingStoreError(f"MLflow ({place()}) failed: {_first_line(error)}{_advice(str(error))}") from error


def place() -> str:
    """Say where MLflow is, without a password."""
    uri = os.environ.get(URI)
    if not uri:
        return "the state folder"
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{URI}={parts.scheme}://{host}{parts.path}"


def _find_server(uri: str) -> None:
    """See that a server answers, whatever it says, before MLflow asks it again and again."""
    import requests

    try:
        status = requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWERS_S, allow_redirects=False).status_code
        said = f"it answers {status}" if status >= 500 else ""
    except requests.exceptions.SSLError:
        return  # it is there; whether its certificate will do is for MLflow to say, by its own settings
    except requests.RequestException as error:
        said = "that is no address" if isinstance(error, ValueError) else "nothing answers there"
    if said:
        raise _unavailable(said)


def _find_database(uri: str) -> None:
    """See that a database's server takes connections: MLflow would try ten times."""
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(uri)
    except sqlalchemy.exc.ArgumentError:
        return  # another kind of place, or none: MLflow says so
    port = url.port or PORTS.get(url.get_backend_name())
    if not url.host or url.host.startswith("/") or port is None:
        return
    try:
        socket.create_connection((url.host, port), ANSWERS_S[0]).close()
    except OSError as error:
        raise _unavailable("nothing answers there") from error


def _unavailable(said: str) -> TrackingStoreError:
    return TrackingStoreError(
        f"no MLflow server at {place()}: {said}. Start it, correct the address, or unset {URI} to keep runs in the "
        "state folder"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _advice(said: str) -> str:
    """Say what to do, by what an error says."""
    for sign, advice in (
        ("readonly database", "it can only be read by this user: make its folder and file writable"),
        ("database is locked", "another program has been writing to it for long: end that, or wait, and try again"),
        ("disk is full", "make space on that disk, and try again"),
        ("out-of-date database schema", "back it up, then run `mlflow db upgrade URI`, or use the MLflow that made it"),
        ("'active' state", "it was deleted in MLflow: restore it there (`mlflow runs restore --run-id ID`)"),
        ("Run with id", "that run was deleted for good: build what it made again, and register it"),
        ("API request to", "see that the server runs, and try again"),
    ):
        if sign in said:
            return f" - {advice}"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Let MLflow say nothing of its libraries' deprecations, of each table it makes, and of bytes on their way."""
    progress = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(progress)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")
        warnings.filterwarnings("ignore", message=r".*noload.*")
        import mlflow  # noqa: F401 - slow; and it sets its loggers' levels, so it comes first

        loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        os.environ[progress] = "false"
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            del os.environ[progress]
            if before is not None:
                os.environ[progress] = before

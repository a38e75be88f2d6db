"""Where MLflow keeps runs and registered versions: the server that ``MLFLOW_TRACKING_URI`` names, else local SQLite."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def connect(home: Path) -> tuple[Any, str | None]:
    """Return an ``MlflowClient``, and where its new experiments keep artifacts if that is for us to say.

    Parameters
    ----------
    home
        Folder of the local database and artifacts, made where it is missing; not touched when a server is named.
    """
    from mlflow import MlflowClient  # slow to import

    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return MlflowClient(uri), None
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}"), (home / "mlflow").as_uri()


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

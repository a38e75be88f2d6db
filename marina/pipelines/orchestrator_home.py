"""The orchestrator's folder: its configuration, written from the settings, and where its parts find one another."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.processes.files import write_atomically
from marina.settings import ROOT, Settings

URL = "MARINA_ORCHESTRATOR_DATABASE"
"""Environment variable of its database's URL, which has a password and stands in no file."""

MARK = "MARINA_ORCHESTRATOR"
"""Environment variable by which its processes, and those they start, are known."""

SCHEMA = "orchestrator"
"""Of its tables in PostgreSQL: Alembic keeps a table of the same name for them and for ours."""

MOST_RETRIES = 3
START_LIMIT_S = 300


@dataclass(frozen=True)
class Home:
    """Where everything of one installation's orchestrator is.

    Attributes
    ----------
    folder
        Dagster's home, in the state folder.
    sockets
        A folder of a short name, for the code server's socket.
    """

    folder: Path
    sockets: Path

    @property
    def socket(self) -> Path:
        """Where the code server answers."""
        return self.sockets / "code.sock"

    @property
    def workspace(self) -> Path:
        """The file that says so to the web server and the daemon."""
        return self.folder / "workspace.yaml"

    def commands(self, port: int) -> dict[str, list[str]]:
        """Return the programs of which it is made, in the order in which they start.

        Parameters
        ----------
        port
            Of the pages, on 127.0.0.1.
        """
        module = [sys.executable, "-m"]
        code = ["dagster", "api", "grpc", "--socket", str(self.socket), "--module-name", "marina.pipelines.definitions"]
        pages = ["dagster_webserver", "--host", "127.0.0.1", "--port", str(port), "--workspace", str(self.workspace)]
        daemon = ["dagster._daemon", "run", "--workspace", str(self.workspace)]
        return {
            "code server": [*module, *code, "--location-name", "marina", "--log-level", "warning"],
            "webserver": [*module, *pages],
            "daemon": [*module, *daemon],
        }

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return what its processes are given."""
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        own = {"DAGSTER_HOME": str(self.folder), MARK: str(self.folder), "DAGSTER_DISABLE_TELEMETRY": "yes"}
        own |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        if (url := postgres_url(settings.database)) is not None:
            own[URL] = url
        return {**os.environ, **own}


def folder(settings: Settings) -> Path:
    """Return Dagster's home."""
    return settings.state_dir.resolve() / "orchestrator"


@contextlib.contextmanager
def make_home(settings: Settings) -> Iterator[Home]:
    """Write the configuration; of the sockets nothing is left afterwards.

    Raises
    ------
    MarinaError
        When PostgreSQL is not there.
    """
    url = postgres_url(settings.database)
    if url is not None:
        _make_schema(settings)
    with tempfile.TemporaryDirectory(prefix="marina-", ignore_cleanup_errors=True) as sockets:
        made = Home(folder(settings), Path(sockets))
        made.folder.mkdir(parents=True, exist_ok=True)
        os.chmod(made.folder, 0o700)
        # JSON is YAML too.
        storage = configuration(made.folder, url is not None)
        write_atomically(made.folder / "dagster.yaml", json.dumps(storage, indent=1))
        server = {"grpc_server": {"socket": str(made.socket), "host": "localhost", "location_name": "marina"}}
        write_atomically(made.workspace, json.dumps({"load_from": [server]}, indent=1))
        yield made


def configuration(home: Path, postgres: bool) -> Mapping[str, Any]:
    """Return ``dagster.yaml``: one run at a time, a cut-off one resumed at its step, nothing told to its makers."""
    files = str(home / "storage")
    storage = {"postgres": {"postgres_url": {"env": URL}}} if postgres else {"sqlite": {"base_dir": files}}
    local = {"module": "dagster._core.storage.local_compute_log_manager", "class": "LocalComputeLogManager"}
    return {
        "storage": storage,
        "compute_logs": {**local, "config": {"base_dir": files}},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "concurrency": {"runs": {"max_concurrent_runs": 1}},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": START_LIMIT_S,
            "poll_interval_seconds": 5,
        },
        # What a step's own retries did not bring about, another run at once will not either.
        "run_retries": {"enabled": True, "max_retries": MOST_RETRIES, "retry_on_asset_or_op_failure": False},
        "retention": {"schedule": {"purge_after_days": 90}},
    }


def postgres_url(database: str) -> str | None:
    """Return the URL of the orchestrator's tables in a PostgreSQL database; None for another database.

    Dagster asks for psycopg2 by its name: of SQLAlchemy 2.1, ``postgresql://`` alone means another driver.
    """
    url = sa.make_url(database)
    if url.get_backend_name() not in ("postgres", "postgresql"):
        return None
    options = f"{url.query.get('options', '')} -csearch_path={SCHEMA}".strip()
    found = url.set(drivername="postgresql+psycopg2").update_query_dict({"options": options})
    return found.render_as_string(hide_password=False)


def _make_schema(settings: Settings) -> None:
    database = Database(settings.database)
    try:
        with database.writing() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    except sa.exc.SQLAlchemyError as error:
        raise MarinaError(f"The orchestrator's tables cannot be made in MARINA_DATABASE_URL: {error}") from error
    finally:
        database.close()

"""Which version of a model answers now: what the gateway itself goes by, looked at on every request.

The gateway follows links in the run folder (marina/serving/traffic_routes.py). Each change of who gets which requests
is a rename in a model's folder there, which changes that folder's time: so one look at two folders (2 µs) says whether
what is known still holds.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from marina.database.connection import AWAY, Database
from marina.database.tables import DECLARATIONS

UNSETTLED_NS = 100_000_000
"""A folder that changed so lately may change again within the same tick of the file system's clock."""

AWAY_S = 2.0
"""How long a database that failed is not asked again: until then no answer is kept or found."""


@dataclass(frozen=True)
class Live:
    """The one version that gets all of a model's requests.

    Attributes
    ----------
    version
        Its name.
    digest
        SHA-256 of its archive.
    """

    version: str
    digest: str


class LiveVersions:
    """Knows which models have exactly one version with traffic.

    Parameters
    ----------
    run_dir
        The gateway's run folder.
    database
        Where the declarations are, with their archives' digests.
    """

    def __init__(self, run_dir: Path, database: Database) -> None:
        self._run_dir = run_dir
        self._database = database
        self._away_until = 0.0
        self._known: dict[str, tuple[tuple[int, int], Live | None]] = {}

    async def find(self, model: str) -> Live | None:
        """Return the version that answers every request; None where several do, or it is not known which."""
        try:
            mark = self._mark(model)
        except (OSError, ValueError):
            return None
        if (known := self._settled(model, mark)) is not None:
            return known[1]
        if time.monotonic() < self._away_until:
            return None
        try:
            found = await run_in_threadpool(self._read, model)
            settled = self._mark(model) == mark
        except (OSError, *AWAY):
            self._away_until = time.monotonic() + AWAY_S
            return None
        if settled:
            self._known[model] = mark, found
        return found if settled else None

    def known(self, model: str) -> Live | None:
        """Return the version that answers every request, where that is known without reading the database."""
        try:
            known = self._settled(model, self._mark(model))
        except (OSError, ValueError):
            return None
        return known[1] if known is not None else None

    def _settled(self, model: str, mark: tuple[int, int]) -> tuple[tuple[int, int], Live | None] | None:
        known = self._known.get(model)
        settled = known is not None and known[0] == mark and time.time_ns() - max(mark) > UNSETTLED_NS
        return known if settled else None

    def _mark(self, model: str) -> tuple[int, int]:
        if "/" in model or model.startswith("."):
            raise ValueError(model)
        parts, places = f"{self._run_dir}/parts/{model}", f"{self._run_dir}/models/{model}"
        return os.stat(parts).st_mtime_ns, os.stat(places).st_mtime_ns

    def _read(self, model: str) -> Live | None:
        parts = self._run_dir / "parts" / model
        versions = {os.path.basename(os.readlink(entry.path)) for entry in os.scandir(parts) if entry.is_symlink()}
        if len(versions) != 1:
            return None
        [version] = versions
        chosen = sa.select(DECLARATIONS.c.sha256).where(
            DECLARATIONS.c.model == model, DECLARATIONS.c.version == version
        )
        with self._database.reading() as connection:
            digest = connection.execute(chosen).scalar()
        return Live(version, digest) if digest else None

"""Starts a training of a family as a command of its own, one at a time; it continues if this process ends."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.products.errors import ProductError
from marina.releases import ledger
from marina.settings import ROOT, Settings


@dataclass(frozen=True)
class Started:
    """A training that was started."""

    family: str
    log: str


class Retraining:
    """Starts trainings.

    Parameters
    ----------
    database, settings
        Where trainings are recorded, and where their output goes.
    command
        Begins the command; the family, the data and the reason are added.
    """

    def __init__(self, database: Database, settings: Settings, command: Sequence[str] = ()) -> None:
        self._database = database
        self._settings = settings
        self._command = tuple(command) or (sys.executable, str(ROOT / "scripts" / "auto_train.py"))
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, family: str, model: str, data: str, who: str, why: str) -> Started:
        """Start one, and write the ledger's row.

        Raises
        ------
        ProductError
            With status 409, when one of the family is under way.
        """
        with self._lock:
            mine = self._running.get(family)
            if (mine is not None and mine.poll() is None) or self._is_under_way(family):
                raise ProductError(409, "training_under_way", f"{family} is being trained. Ask for its status instead.")
            with self._database.writing(durable=True) as connection:
                ledger.append(connection, who, "retrain", model, {"why": why, "data": data}, time.time())
            self._settings.log_dir.mkdir(parents=True, exist_ok=True)
            log = self._settings.log_dir / f"retrain_{family}.log"
            with log.open("ab") as output:
                self._running[family] = subprocess.Popen(
                    [*self._command, "--family", family, "--data", data, "--reason", "manual"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=ROOT,
                    env=dict(os.environ),
                    start_new_session=True,
                )
            return Started(family, log.name)

    def last(self, family: str) -> dict[str, object] | None:
        """Return what is recorded of the family's newest training."""
        given = TRAININGS.c
        newest = sa.select(TRAININGS).where(given.family == family).order_by(given.started_at.desc()).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(newest).first()
        if row is None:
            return None
        return {
            "state": row.state, "reason": row.reason, "version": row.version, "started_at": row.started_at,
            "ended_at": row.ended_at, "result": json.loads(row.result),
        }  # fmt: skip

    def _is_under_way(self, family: str) -> bool:
        given = TRAININGS.c
        begun = time.time() - self._settings.ml_training_limit_s
        running = sa.select(given.key).where(given.family == family, given.state == "running", given.started_at > begun)
        with self._database.reading() as connection:
            return connection.execute(running.limit(1)).first() is not None

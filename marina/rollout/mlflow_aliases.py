"""MLflow's aliases follow the ledger: champion, previous, canary and shadow of each model, and its head is noted there.

MLflow takes seconds to import and may hang. So a process of its own, ``python -m marina.rollout.mlflow_aliases MODEL
...``, does that, at low priority; a rollout never waits for it.
"""

import os
import signal
import subprocess
import sys
import time

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import LEDGER
from marina.processes.children import end_with_parent
from marina.releases import ledger
from marina.rollout import rollouts
from marina.rollout.archive_lookup import registry
from marina.rollout.rollouts import RETREATS, RolloutError
from marina.settings import ROOT, Settings, read_settings

AGAIN_S = 60.0
HUNG_S = 120.0


class Aliases:
    """Starts that process whenever the ledger has grown, one at a time, and again where it failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen = 0
        self._behind: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._named: set[str] = set()
        self._started_at = -AGAIN_S

    def follow(self, database: Database) -> None:
        """See what is new in the ledger, and let MLflow know. Returns at once."""
        if registry(self._settings) is None:
            return
        with database.reading() as connection:
            new = connection.execute(sa.select(LEDGER.c.seq, LEDGER.c.model).where(LEDGER.c.seq > self._seen)).all()
        self._seen = max([self._seen, *(row.seq for row in new)])
        self._behind |= {row.model for row in new if not row.model.startswith(ledger.FLAG)}
        if self._process is not None:
            if self._process.poll() is None:
                if time.monotonic() - self._started_at > HUNG_S:
                    self._process.kill()
                return
            failed = self._process.returncode != 0
            if failed:
                self._behind |= self._named
            if failed and time.monotonic() - self._started_at < AGAIN_S:
                return
            self._process = None
        if self._behind:
            self._named, self._behind = self._behind, set()
            self._started_at = time.monotonic()
            self._process = subprocess.Popen(
                ["nice", "-n", "19", sys.executable, "-m", "marina.rollout.mlflow_aliases", *sorted(self._named)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - the first thread, which lives longest
            )

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def names(connection: sa.Connection, model: str) -> dict[str, str | None]:
    """Return which version of a model bears which alias, by the ledger and the open rollout."""
    found: dict[str, str | None] = dict.fromkeys(("champion", "previous", "canary", "shadow"))
    if before := ledger.previous_champion(connection, model):
        found["previous"] = before.version
    one = rollouts.rollout_of(connection, model)
    if one is None:
        try:
            found["champion"] = rollouts.stable_of(connection, model)
        except RolloutError:  # nothing, or several versions at once, as the server was started
            return found
    else:
        found["champion"] = one.stable
        if one.phase not in RETREATS:
            found["shadow" if one.phase == "shadow" else "canary"] = one.canary
    return found


def main(models: list[str]) -> int:
    """Set the aliases of these models."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    settings = read_settings()
    entered = registry(settings)
    if entered is None:
        return 0
    database = Database(settings.database)
    for model in models:
        with database.reading() as connection:
            wanted = names(connection, model)
            head = next(ledger.entries(connection, newest_first=True), None)
        entered.follow(model, **wanted)
        if head is not None:
            entered.anchor(model, head.seq, head.hash)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Shadow traffic: what users asked is asked again of silent versions, after the users have been answered.

``python -m marina.rollout.shadow.service`` runs beside TorchServe, as a sidecar of the supervisor. Requests are
taken from the prediction log, so no user waits for a shadow. They are sent at low priority, to workers that run when
nothing else does (marina/processes/priority.py), at most `replay_client.PER_SECOND` in all; of more, the oldest are
left out.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from marina.database.connection import AWAY, Database
from marina.database.outage import Outage
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.rollout.shadow.pending_inputs import Shadowed, settle, shadowed, waiting
from marina.rollout.shadow.replay_client import AT_ONCE, Replay
from marina.serving.run_dir import RunDir
from marina.settings import read_settings

STEP_S = 0.5
AWAY_S = 2.0
BATCH = 3 * AT_ONCE  # about a second's
NICE = 10  # beside busy others a tenth of a core: enough to make progress, and to release a lock soon


class Shadow:
    """Replays to the silent versions that are ready on one replica."""

    def __init__(self, database: Database, replica: str, replay: Replay, report: Callable[[str], None] = log) -> None:
        self._database = database
        self._replica = replica
        self._replay = replay
        self._report = report
        self._reported: set[str] = set()

    def step(self) -> int:
        """Replay one batch to each shadow version; return how many requests were answered.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `marina.database.connection.AWAY` when the database is unavailable. What was answered in this step is
            asked again in a later one.
        """
        with self._database.reading() as connection:
            found = shadowed(connection, self._replica)
        return sum(self._catch_up(one) for one in found)

    def _catch_up(self, one: Shadowed) -> int:
        with self._database.reading() as connection:
            found = waiting(connection, one, BATCH)
        if found.left_out and one.source not in self._reported:
            self._reported.add(one.source)
            self._report(
                f"{one.model} {one.shadow}: more requests come than are replayed; the newest requests are chosen"
            )
        answers = self._replay.send(one.model, one.shadow, found.inputs)
        answered = [(given, got) for given, got in zip(found.inputs, answers, strict=True) if got is not None]
        if answered or found.left_out:
            with self._database.writing() as connection:
                settle(self._database, connection, one, found.floor, answered)
        return len(answered)


def main() -> None:
    """Replay until SIGTERM. What has not been written by then still waits, so nothing needs to be finished."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    step_aside(NICE)
    settings = read_settings()
    socket = RunDir(Path(os.environ["MARINA_RUN_DIR"])).inference_socket
    replay = Replay(socket, augmented=settings.tta_models)
    shadow = Shadow(Database(settings.database), settings.replica_name, replay)
    outage = Outage(log, "shadows wait")
    while True:
        began = time.monotonic()
        try:
            shadow.step()
            outage.end()
        except AWAY as error:
            outage.begin(error)
        # Few requests that come one by one are looked for twice a second, not after each.
        time.sleep(max(0.0, began + (AWAY_S if outage.on else STEP_S) - time.monotonic()))


if __name__ == "__main__":
    main()

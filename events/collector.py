"""The collector: takes what workers and the gateway wrote to files over into the database.

    python -m events.collector

It reads the settings from the environment, as the supervisor that starts it does. Rows and the positions in the files
they came from are written in one transaction, so that nothing is counted twice or lost, wherever it is killed. While
the database is away the files wait. Hourly, what is too old is deleted.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from events import positions
from events.access import access_logs, add_windows, read_windows
from events.background import step_aside
from events.database import AWAY, REFUSED, Database, DatabaseError
from events.lines import read_lines
from events.outage import Outage
from events.retention import forget
from events.spool import Row, read_entries, spool_files
from events.tables import INPUTS, POSITIONS, PREDICTIONS
from settings import Settings

PAUSE_S = 0.5
AWAY_S = 1.0
NICE = 10  # at 19 a busy server would starve it until the spool is full; so it has a tenth of a core even then
FORGET_S = 3600.0
BATCH_BYTES = 256 * 1024
"""Predictions taken over at once, about 600: SQLite's other writers wait for a few milliseconds of work."""
MOST_LOGS = 10
"""Rotated access logs that may wait; while the database is away for long, the oldest go uncounted."""

ENDING = (signal.SIGTERM, signal.SIGINT)


class Collector:
    """Takes the files of one server over, a batch at a time.

    Parameters
    ----------
    replica
        The server's name among those that share the database.
    spool_dir, log_dir
        Where its workers and its gateway write; positions in their files go by the id of the first.

    Raises
    ------
    OSError
        When the id cannot be kept in the folder.
    """

    def __init__(self, database: Database, replica: str, spool_dir: Path, log_dir: Path) -> None:
        self._database = database
        self._replica = replica
        self._folder = positions.folder_id(spool_dir)
        self._spool_dir = spool_dir
        self._log_dir = log_dir
        self._positions: dict[str, int] | None = None
        self._told_of_malformed = False
        self.behind = False
        """Whether the last step left lines that were there already."""

    def step(self) -> int:
        """Take a batch over from each kind of file.

        Returns
        -------
        int
            How many lines; 0 when there are none for now.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `events.database.AWAY` when the database is away; nothing is lost, call it again.
        """
        self.behind = False
        taken = self._take_windows() + self._take_predictions()
        self.behind &= taken > 0  # half a line, however long, is not waited for
        return taken

    def tidy(self) -> None:
        """Forget positions in files that are gone."""
        with access_logs(self._log_dir) as logs:
            there = {self._source("access", log.key) for log in logs}
        with spool_files(self._spool_dir) as files:
            there |= {self._source("spool", file.key) for file in files}
        gone = [source for source in self._known() if source not in there]
        if gone:
            with self._database.writing() as connection:
                connection.execute(
                    sa.delete(POSITIONS).where(POSITIONS.c.source == sa.bindparam("gone")),
                    [{"gone": source} for source in gone],
                )
            for source in gone:
                del self._known()[source]

    def _take_windows(self) -> int:
        with access_logs(self._log_dir) as logs:
            for log in logs[: -MOST_LOGS - 1]:
                log.path.unlink(missing_ok=True)
                _say(f"{log.path.name} was deleted, counted or not: {MOST_LOGS} more wait for the database")
            for log in logs[-MOST_LOGS - 1 :]:
                source = self._source("access", log.key)
                read = read_lines(log.file, self._known().get(source, 0), last=log.finished)
                self.behind |= read.full or log.finished
                if read.lines:
                    windows, malformed = read_windows(read.lines)
                    self._tell_of(malformed, log.path)
                    with self._moving({source: read.position}) as connection:
                        add_windows(self._database, connection, self._replica, windows)
                        positions.add(self._database, connection, self._replica, 0, malformed)
                    return len(read.lines)
                if log.finished:
                    log.path.unlink(missing_ok=True)
        return 0

    def _take_predictions(self) -> int:
        lines: list[bytes] = []
        moved: dict[str, int] = {}
        consumed: list[Path] = []
        left = BATCH_BYTES
        with spool_files(self._spool_dir) as files:
            for file in files:
                source = self._source("spool", file.key)
                start = self._known().get(source, 0)
                read = read_lines(file.file, start, left, last=file.finished)
                self.behind |= read.full
                lines += read.lines
                left -= read.position - start
                if read.lines:
                    moved[source] = read.position
                if file.finished and read.position >= os.fstat(file.file.fileno()).st_size:
                    consumed.append(file.path)
                if left <= 0:
                    break
            if lines:
                entries = read_entries(lines)
                if entries.dropped:
                    _say(f"{entries.dropped} answers were not logged: the spool was full, or could not be written to")
                with self._moving(moved) as connection:
                    malformed = entries.malformed + sum(
                        self._add(connection, table, rows)
                        for table, rows in ((PREDICTIONS, entries.predictions), (INPUTS, entries.inputs))
                    )
                    positions.add(self._database, connection, self._replica, entries.dropped, malformed)
                self._tell_of(malformed, self._spool_dir)
            for path in consumed:
                path.unlink(missing_ok=True)
        return len(lines)

    def _add(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> int:
        """Add rows; where the database refuses them, those that it takes. Return how many it did not."""
        try:
            with connection.begin_nested():
                self._database.add_new(connection, table, rows)
        except REFUSED:
            return sum(self._add(connection, table, [row]) for row in rows) if len(rows) > 1 else 1
        return 0

    def _source(self, kind: str, key: str) -> str:
        return f"{self._folder} {kind} {key}"

    def _known(self) -> dict[str, int]:
        """Return the positions as they are in the database; only this process moves them."""
        if self._positions is None:
            with self._database.reading() as connection:
                self._positions = positions.of_folder(connection, self._folder)
        return self._positions

    @contextlib.contextmanager
    def _moving(self, moved: Mapping[str, int]) -> Iterator[sa.Connection]:
        """Open a transaction that moves positions with what the block writes."""
        try:
            with self._database.writing() as connection:
                yield connection
                rows = [{"source": source, "position": at} for source, at in moved.items()]
                self._database.put(connection, POSITIONS, rows)
        except BaseException:
            self._positions = None  # a commit whose answer was lost may have happened
            raise
        self._known().update(moved)

    def _tell_of(self, malformed: int, place: Path) -> None:
        if malformed and not self._told_of_malformed:
            self._told_of_malformed = True
            _say(f"{malformed} lines in {place} are none of ours, and passed over; further ones are counted only")


def collect(settings: Settings, database: Database) -> None:
    """Take over what comes until told to stop, whatever becomes of the database meanwhile."""
    collector = Collector(database, settings.replica_name, settings.spool_dir, settings.log_dir)
    outage = Outage(_say, f"predictions wait in {settings.spool_dir}")
    forget_at = 0.0
    forgetting: Iterator[int] = iter(())
    pause_s = 0.0
    while not _told_to_stop(pause_s):
        try:
            collector.step()
            if time.monotonic() >= forget_at:
                collector.tidy()
                forgetting = forget(database, time.time(), settings.retention_days, settings.input_retention_days)
                forget_at = time.monotonic() + FORGET_S
            forgotten = next(forgetting, None)
            outage.end()
            # What comes meanwhile waits: many lines at once cost less than as many one by one.
            pause_s = 0.0 if collector.behind or forgotten else PAUSE_S
        except AWAY as error:
            outage.begin(error)
            forget_at = 0.0  # what it broke off is begun again
            pause_s = AWAY_S


def _say(text: str) -> None:
    print(f"collector: {text}", file=sys.stderr, flush=True)


def _told_to_stop(wait_s: float) -> bool:
    """Wait for a signal that ends the process; they are blocked, so that they come here and nowhere else."""
    return signal.sigtimedwait(ENDING, wait_s) is not None


def _locked(folder: int) -> bool:
    """Lock an open folder for as long as it is open; False when another process has."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> int:
    """Run until SIGTERM or SIGINT; the batch in hand is finished."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    step_aside(NICE)
    settings = Settings()
    try:
        database = Database(settings.database)
    except DatabaseError as error:
        _say(str(error))
        return 1
    settings.spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(settings.spool_dir, os.O_RDONLY)
    while not _locked(folder):  # another collector takes it over
        if _told_to_stop(PAUSE_S):
            return 0
    collect(settings, database)
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

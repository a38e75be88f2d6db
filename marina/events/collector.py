"""The collector: takes what workers and the gateway wrote to files over into the database.

    python -m marina.events.collector

It reads the settings from the environment, as the supervisor that starts it does. Rows and the positions in the files
they came from are written in one transaction, so that nothing is counted twice or lost, wherever it is killed. While
the database is unavailable the files wait. From an hour after its start on, what is too old is deleted hourly.
"""

import contextlib
import fcntl
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa

from marina.database.connection import AWAY, REFUSED, Database, DatabaseError
from marina.database.outage import Outage
from marina.database.tables import INPUTS, POSITIONS, PREDICTIONS
from marina.events import offsets
from marina.events.access_log import access_logs, add_windows, read_requests, windows_of
from marina.events.client_tallies import Watch
from marina.events.labels import adopt
from marina.events.line_reader import read_lines
from marina.events.pace import Pace
from marina.events.retention import forget
from marina.events.spool import FILE_BYTES, Row, read_entries, spool_files
from marina.processes.background import step_aside
from marina.processes.console import log
from marina.processes.preallocation import reserve
from marina.settings import Settings, read_settings

AWAY_S = 1.0
LOCKED_S = 0.5
NICE = 10  # at 19 a busy server would starve it until the spool is full; so it has a tenth of a core even then
HOUR_S = 3600.0
"""Between two deletions of what is too old; the first comes so long after the start, when the clock is set."""
BATCH_BYTES = 128 * 1024
"""Of each kind of file taken over at once, about 300 answers: SQLite's other writers wait for a millisecond or two."""
SETTLE_S = 1.0
"""How often SQLite's log is brought over to its file, which forces both to the disk."""
AHEAD_BYTES = 16 * 1024 * 1024
"""Room on the disk that the gateway's log has before it."""
MOST_LOGS = 10
"""Rotated access logs that may wait; while the database is unavailable for long, the oldest go uncounted."""

ENDING = (signal.SIGTERM, signal.SIGINT)


Evenly = Callable[[Iterable[bytes]], Iterable[bytes]]


class Collector:
    """Takes the files of one server over, a batch at a time.

    Parameters
    ----------
    replica
        The server's name among those that share the database.
    spool_dir, log_dir
        Where its workers and its gateway write; positions in their files go by the id of the second, which workers
        do not reach.
    evenly
        Passes the lines of a batch on, with naps between them.

    Raises
    ------
    OSError
        When the id cannot be kept in the folder.
    """

    def __init__(
        self, database: Database, replica: str, spool_dir: Path, log_dir: Path, evenly: Evenly = lambda lines: lines
    ) -> None:
        self._database = database
        self._replica = replica
        self._folder = offsets.folder_id(log_dir)
        self._spool_dir = spool_dir
        self._log_dir = log_dir
        self._evenly = evenly
        self._positions: dict[str, int] | None = None
        self._consumed: set[Path] = set()
        self._unsettled = True
        self._malformed_reported = False
        self._watch = Watch()
        self.behind = False
        """Whether the last step left lines that were there already."""
        self.waiting = 0
        """How many bytes it left."""

    def step(self) -> int:
        """Take a batch over from each kind of file.

        Returns
        -------
        int
            How many lines; 0 when there are none for now.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `marina.database.connection.AWAY` when the database is unavailable; nothing is lost, call it again.
        """
        self.behind, self.waiting = False, 0
        taken = self._take_windows() + self._take_predictions()
        self.behind &= taken > 0  # half a line, however long, is not waited for
        if not taken:
            self.settle()
        return taken

    def settle(self) -> None:
        """Have what was taken over forced to the disk, and delete the files that all of it came from.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            As for `step`.
        """
        if not self._unsettled:
            return
        consumed = set(self._consumed)
        if self._database.settle():
            for path in consumed:
                path.unlink(missing_ok=True)
            self._consumed -= consumed
            self._unsettled = False

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
                _log(f"{log.path.name} was deleted, counted or not: {MOST_LOGS} more wait for the database")
            for log in logs[-MOST_LOGS - 1 :]:
                if log.path in self._consumed:
                    continue
                source = self._source("access", log.key)
                read = read_lines(log.file, self._known().get(source, 0), BATCH_BYTES, last=log.finished)
                self.behind |= read.full or log.finished
                self._note(log.path, log.file, read.position, AHEAD_BYTES, log.finished)
                if read.lines:
                    requests, malformed = read_requests(self._evenly(read.lines))
                    self._report_malformed(malformed, log.path)
                    with self._moving({source: read.position}) as connection:
                        add_windows(self._database, connection, self._replica, windows_of(requests))
                        self._watch.add(connection, self._replica, requests)
                        offsets.add(self._database, connection, self._replica, 0, malformed)
                    return len(read.lines)
                if log.finished:
                    self._consume(log.path)
        return 0

    def _take_predictions(self) -> int:
        lines: list[bytes] = []
        moved: dict[str, int] = {}
        consumed: list[Path] = []
        left = BATCH_BYTES
        with spool_files(self._spool_dir) as files:
            for file in files:
                if file.path in self._consumed:
                    continue
                source = self._source("spool", file.key)
                start = self._known().get(source, 0)
                read = read_lines(file.file, start, left, last=file.finished)
                self.behind |= read.full
                self._note(file.path, file.file, read.position, FILE_BYTES, file.finished)
                lines += read.lines
                left -= read.position - start
                if read.lines:
                    moved[source] = read.position
                if file.finished and read.position >= os.fstat(file.file.fileno()).st_size:
                    consumed.append(file.path)
                if left <= 0:
                    break
            if lines:
                entries = read_entries(self._evenly(lines))
                if entries.dropped:
                    _log(f"{entries.dropped} answers were not logged: the spool was full, or could not be written to")
                with self._moving(moved) as connection:
                    malformed = entries.malformed + sum(
                        self._add(connection, table, rows)
                        for table, rows in ((PREDICTIONS, entries.predictions), (INPUTS, entries.inputs))
                    )
                    offsets.add(self._database, connection, self._replica, entries.dropped, malformed)
                    offsets.add_warnings(self._database, connection, self._replica, entries.warnings)
                    answered = [(row[0], row[3]) for row in entries.predictions]
                    adopt(self._database, connection, answered, time.time())
                self._report_malformed(malformed, self._spool_dir)
            for path in consumed:
                self._consume(path)
        return len(lines)

    def _note(self, path: Path, file: BinaryIO, position: int, ahead_bytes: int, finished: bool) -> None:
        """Note what is left of a file, and make sure that there is room for what is appended to it."""
        state = os.fstat(file.fileno())
        self.waiting += state.st_size - position
        if not finished:
            reserve(path, state, ahead_bytes)

    def _consume(self, path: Path) -> None:
        """Let a file go once what came of it is on the disk."""
        self._consumed.add(path)
        self._unsettled = True

    def _add(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> int:
        """Add rows; where the database refuses them, those that it takes. Return how many it did not."""
        if not rows:
            return 0
        try:
            with connection.begin_nested():
                self._database.add_rows(connection, table, rows)
        except REFUSED:
            return sum(self._add(connection, table, [row]) for row in rows) if len(rows) > 1 else 1
        return 0

    def _source(self, kind: str, key: str) -> str:
        return f"{self._folder} {kind} {key}"

    def _known(self) -> dict[str, int]:
        """Return the positions as they are in the database; only this process moves them."""
        if self._positions is None:
            with self._database.reading() as connection:
                self._positions = offsets.of_folder(connection, self._folder)
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
        self._unsettled = True

    def _report_malformed(self, malformed: int, place: Path) -> None:
        if malformed and not self._malformed_reported:
            self._malformed_reported = True
            _log(f"{malformed} lines in {place} are none of ours, and passed over; further ones are counted only")


def collect(settings: Settings, database: Database) -> None:
    """Ingest what comes until asked to stop, also while the database is unavailable."""
    pace = Pace(settings.spool_limit_bytes)
    place = settings.spool_dir, settings.log_dir
    collector = Collector(database, settings.replica_name, *place, pace.evenly)
    wait = f"predictions wait in {settings.spool_dir}"
    outage, unreadable = Outage(_log, wait), Outage(_log, wait, "the disk")
    tidy_at = settle_at = 0.0
    forget_at = time.monotonic() + HOUR_S
    forgetting: Iterator[int] | None = None
    gc.freeze()  # what is there now stays: it is not looked through again and again
    pause_s = 0.0
    while not _stop_requested(pause_s):
        try:
            taken = collector.step()
            now = time.monotonic()
            if now >= settle_at:
                collector.settle()
                settle_at = now + SETTLE_S
            if now >= tidy_at:
                collector.tidy()
                tidy_at = now + HOUR_S
            if now >= forget_at:
                ages = settings.retention_days, settings.input_retention_days
                forgetting = forget(database, time.time(), *ages, _log)
                forget_at = now + HOUR_S
            if forgetting is not None and next(forgetting, None) is None:
                forgetting = None
            outage.end()
            unreadable.end()
            pause_s = pace.rest_s(bool(taken or forgetting), collector.waiting, collector.behind or bool(forgetting))
        except (*AWAY, OSError) as error:
            (unreadable if isinstance(error, OSError) else outage).begin(error)
            tidy_at = 0.0  # what it broke off is begun again
            if forgetting is not None:
                forgetting, forget_at = None, 0.0
            pause_s = AWAY_S


def _log(text: str) -> None:
    log(f"collector: {text}", sys.stderr)


def _stop_requested(wait_s: float) -> bool:
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
    """Run until SIGTERM or SIGINT; the batch in progress is finished."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    step_aside(NICE)
    settings = read_settings()
    try:
        database = Database(settings.database)
    except DatabaseError as error:
        _log(str(error))
        return 1
    for place in (settings.spool_dir, settings.log_dir):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(settings.log_dir, os.O_RDONLY)
    while not _locked(folder):  # another collector takes it over
        if _stop_requested(LOCKED_S):
            return 0
    collect(settings, database)
    database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

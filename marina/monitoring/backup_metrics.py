"""When a backup last succeeded, for Prometheus: what lies in the table of backups."""

from collections.abc import Iterable

import sqlalchemy as sa

from marina.database.backup_tables import BACKUPS
from marina.events.exposition import Row, write_family
from marina.events.metrics import Collect
from marina.settings import Settings


def backups_of(settings: Settings) -> Collect:
    """Return what writes when one last succeeded; 0 where one is to be made each day and none ever was."""

    def collect(connection: sa.Connection, now: float) -> Iterable[list[str]]:
        del now
        chosen = sa.select(BACKUPS.c.ended_at, BACKUPS.c.bytes).where(BACKUPS.c.state == "done")
        last = connection.execute(chosen.order_by(BACKUPS.c.ended_at.desc()).limit(1)).one_or_none()
        wanted = last is not None or bool(settings.backup_destination)
        rows: list[Row] = [({}, last.ended_at if last else 0.0)] if wanted else []
        about = "When a backup last succeeded, in seconds since 1970; 0: never."
        yield write_family("marina_backup_last_success_timestamp_seconds", "gauge", about, rows)
        sizes: list[Row] = [({}, last.bytes)] if last else []
        yield write_family("marina_backup_bytes", "gauge", "The size of what is in it.", sizes)

    return collect

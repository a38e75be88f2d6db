"""When the weekly runs last succeeded, for Prometheus: what lies in the table of the loop's steps."""

from collections.abc import Iterable

import sqlalchemy as sa

from marina.database.loop_tables import LOOP_STEPS
from marina.events.exposition import Row, write_family

WEEKLY = "weekly"
"""How the keys of weekly runs begin."""

LAST_STEP = "finish"
"""The step by which a family's run is whole."""

MOST_ATTEMPTS = 3
"""How often a step is begun in a run."""

BAD_DATA = 4
"""Exit status of a training that is not tried again in this run."""


def collect_loop(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write when each family's weekly run last succeeded; 0 where one was begun and none ever did."""
    del now
    table = LOOP_STEPS.c
    succeeded = sa.case(((table.step == LAST_STEP) & (table.state == "done"), table.ended_at))
    chosen = sa.select(table.family, sa.func.max(succeeded)).where(table.run.startswith(f"{WEEKLY} "))
    found = connection.execute(chosen.group_by(table.family).order_by(table.family)).all()
    rows: list[Row] = [({"family": family}, last or 0.0) for family, last in found]
    about = "When the family's weekly load, training and decision last succeeded, in seconds since 1970; 0: never."
    yield write_family("marina_loop_last_success_timestamp_seconds", "gauge", about, rows)

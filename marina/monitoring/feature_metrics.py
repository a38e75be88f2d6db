"""Whether served features are those of the offline store, and whether writes reach the online store, for Prometheus."""

from collections.abc import Iterable

import sqlalchemy as sa

from marina.database.feature_tables import FEATURE_OUTBOX, FEATURE_PARITY
from marina.events.exposition import Row, write_family


def collect_features(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write each view's last parity check, and for how long the oldest write has been waiting."""
    table = FEATURE_PARITY.c
    newest = sa.select(sa.func.max(table.id)).group_by(table.view)
    checks = connection.execute(sa.select(FEATURE_PARITY).where(table.id.in_(newest)).order_by(table.view)).all()
    for name, about, column in (
        ("samples", "Served feature vectors that the last parity check compared.", "samples"),
        ("behind", "Of those, how many were a moment behind the offline store.", "behind"),
        ("differing", "Of those, how many were not what the as-of join says.", "differing"),
        ("timestamp_seconds", "When it was, in seconds since 1970.", "checked_at"),
    ):
        rows: list[Row] = [({"view": row.view}, row._mapping[column]) for row in checks]
        yield write_family(f"marina_feature_parity_{name}", "gauge", about, rows)
    waiting = sa.select(FEATURE_OUTBOX.c.view, sa.func.min(FEATURE_OUTBOX.c.written_at).label("since"))
    found = connection.execute(waiting.group_by(FEATURE_OUTBOX.c.view).order_by(FEATURE_OUTBOX.c.view)).all()
    rows = [({"view": row.view}, max(0.0, now - row.since)) for row in found]
    about = "For how long the oldest write has been waiting for the online store; none: none waits."
    yield write_family("marina_feature_write_waiting_seconds", "gauge", about, rows)

"""The table of backups, beside those of `marina.database.tables`; marina.pipelines.backup.runs writes it."""

import sqlalchemy as sa

from marina.database.metadata import METADATA

BACKUPS = sa.Table(
    "backups",
    METADATA,
    sa.Column("started_at", sa.Float, primary_key=True),
    sa.Column("replica", sa.String(128), primary_key=True),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("files", "bytes", "new_bytes")),
    sa.Column("note", sa.Text, nullable=False),
    comment="Backups that were made, done or failed: where they are, and how much was new.",
)

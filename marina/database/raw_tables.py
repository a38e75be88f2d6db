"""Rows to train on: what was imported, what of it may be trained on since when, and what was refused and why.

A row is one line of an imported table, as JSON with one spelling, so that its hash is its content's. It is imported
once and never changed, but for its week: empty until a release makes it visible.
"""

import sqlalchemy as sa

from marina.database.metadata import METADATA

_HASH = sa.String(64)
_FAMILY = _KIND = sa.String(32)

RAW_BATCHES = sa.Table(
    "raw_batches",
    METADATA,
    sa.Column("family", _FAMILY, primary_key=True),
    sa.Column("batch", _HASH, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("rows", "added", "repeated", "bad")),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("imported_at", sa.Float, nullable=False),
    comment="Files that were imported, by the hash of their bytes: how they were read, and what happened to each row.",
)

RAW_ROWS = sa.Table(
    "raw_rows",
    METADATA,
    sa.Column("family", _FAMILY, primary_key=True),
    sa.Column("key", _HASH, primary_key=True),
    sa.Column("kind", _KIND, nullable=False),
    sa.Column("sha256", _HASH, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("moment", sa.Float, nullable=False),
    sa.Column("batch", _HASH, nullable=False),
    sa.Column("imported_at", sa.Float, nullable=False),
    sa.Column("week", sa.String(8), nullable=False, server_default=""),
    sa.Index("raw_rows_by_week", "family", "week", "moment", "key"),
    sa.Index("raw_rows_by_batch", "family", "batch"),
    comment="Rows by what identifies them, as JSON; `moment`: when it was, 0 where rows have no time; `week`: of the "
    "release that made it visible, empty before.",
)

BAD_ROWS = sa.Table(
    "bad_rows",
    METADATA,
    sa.Column("family", _FAMILY, primary_key=True),
    sa.Column("batch", _HASH, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("row", sa.BigInteger),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("imported_at", sa.Float, nullable=False),
    comment="What was refused: of which file, which row (from 0; none: the file as a whole), and why.",
)

RAW_RELEASES = sa.Table(
    "raw_releases",
    METADATA,
    sa.Column("family", _FAMILY, primary_key=True),
    sa.Column("week", sa.String(8), primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("visible", sa.BigInteger, nullable=False),
    sa.Column("sha256", _HASH, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("released_at", sa.Float, nullable=False),
    comment="Which rows each week made visible: how many, how many there are since, their hash, and what was verified.",
)

"""Rows to train on: imported tables, their refused rows, and what each week made visible."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the four tables."""
    op.create_table(
        "raw_batches",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("rows", "added", "repeated", "bad")),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("family", "batch"),
        comment="Files that were imported, by the hash of their bytes: how they were read, and what happened to each "
        "row.",
    )
    op.create_table(
        "raw_rows",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("moment", sa.Float(), nullable=False),
        sa.Column("batch", sa.String(length=64), nullable=False),
        sa.Column("imported_at", sa.Float(), nullable=False),
        sa.Column("week", sa.String(length=8), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("family", "key"),
        comment="Rows by what identifies them, as JSON; `moment`: when it was, 0 where rows have no time; `week`: of "
        "the release that made it visible, empty before.",
    )
    op.create_index("raw_rows_by_week", "raw_rows", ["family", "week", "moment", "key"])
    op.create_index("raw_rows_by_batch", "raw_rows", ["family", "batch"])
    op.create_table(
        "bad_rows",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("row", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("family", "batch", "number"),
        comment="What was refused: of which file, which row (from 0; none: the file as a whole), and why.",
    )
    op.create_table(
        "raw_releases",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("week", sa.String(length=8), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("visible", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("family", "week"),
        comment="Which rows each week made visible: how many, how many there are since, their hash, and what was "
        "verified.",
    )

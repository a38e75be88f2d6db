"""Whose a label is, and a place of their own for labels that come before their answer."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("labels", sa.Column("source", sa.String(length=64), server_default="", nullable=False))
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        about = "True labels of answers that are there, since when they count, and whose they are."
        op.create_table_comment("labels", about)
    op.create_table(
        "early_labels",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=256), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "instance", "source"),
        comment="True labels whose answer is not there yet; few, and not for long.",
    )
    op.create_index("early_labels_by_source", "early_labels", ["source"], unique=False)
    op.create_index("early_labels_by_time", "early_labels", ["time"], unique=False)

"""Truths that are no single label: where they are kept, and which kind of truth each version's answers have."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table and the columns; of versions that are declared already the kind is read from their archives."""
    op.create_table(
        "truths",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("truth", sa.Text(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("request_id", "instance"),
        comment="What is true of answers that are no single label, as JSON by part: questions, rows or numbers.",
    )
    op.create_index("truths_by_time", "truths", ["time"])
    op.add_column("label_sets", sa.Column("truth", sa.String(length=16), server_default="", nullable=False))
    op.add_column("early_labels", sa.Column("truth", sa.Text(), server_default="", nullable=False))

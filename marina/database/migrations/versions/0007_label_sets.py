"""The classes of each declared version, and which requests of a window a worker died of."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "label_sets",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version"),
        comment="The classes of each version that was ever declared, as a JSON list; empty where it has none.",
    )
    if op.get_bind().dialect.name == "postgresql":
        about = "Counts of gateway lines per version and window; latencies as {bucket: count}; "
        about += "`retried`: a worker died."
        op.create_table_comment("evidence", about)
    op.add_column("evidence", sa.Column("retried", sa.BigInteger(), server_default="0", nullable=False))

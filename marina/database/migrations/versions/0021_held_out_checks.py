"""How live versions answer held-out rows, asked again as rows are added."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "held_out_checks",
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("time", sa.Float, primary_key=True),
        sa.Column("data", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("rows", "refused")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("accuracy", "low", "high")),
        comment="Accuracy of a live version on held-out rows, with its 95 % interval, each time they were asked.",
    )

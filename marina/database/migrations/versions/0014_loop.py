"""Automatic trainings, and the steps of recurring runs."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "trainings",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(128), nullable=False),
        *(sa.Column(name, sa.String(64), nullable=False) for name in ("data", "code")),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("result", sa.Text, nullable=False),
        comment="Automatic trainings, one per family, data, code and reason: running, done or failed, and what came of "
        "it.",
    )
    op.create_index("trainings_by_family", "trainings", ["family", "started_at"])
    op.create_table(
        "loop_steps",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(128), primary_key=True),
        sa.Column("step", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("exit", sa.Integer),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("result", "note")),
        comment="Steps of the recurring runs: running, done or failed, how their command ended, and its JSON result.",
    )

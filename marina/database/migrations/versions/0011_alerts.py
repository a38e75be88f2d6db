"""Alerts, what people did about them, and totals with which counters continue."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "metric_totals",
        sa.Column("replica", sa.String(128), primary_key=True),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("totals", sa.Text, nullable=False),
        comment="What a server's counters were at a time, as JSON, so that they continue when it starts again.",
    )
    texts = {"model": 128, "version": 64, "kind": 32, "name": 64, "level": 16}
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in texts.items()),
        sa.Column("what", sa.Text, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("since", "effect", "evidence", "needed")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("harm", "link")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("opened_at", "updated_at")),
        sa.Column("resolved_at", sa.Float),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sent", sa.String(16), nullable=False, server_default=""),
        comment="What was found, since when and on which evidence; open until it ends; `sent`: what people know of it.",
    )
    op.create_index("alerts_by_key", "alerts", ["model", "version", "kind", "name", "resolved_at"])
    op.create_index("alerts_by_end", "alerts", ["resolved_at"])
    op.create_table(
        "alert_actions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("alert", sa.Integer, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        comment="What people did about an alert, and why.",
    )
    op.create_index("ix_alert_actions_alert", "alert_actions", ["alert"])

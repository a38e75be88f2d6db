"""Drift detectors, what they are set to, and reports."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "drift_detectors",
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("instance", sa.Integer, nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("evidence", sa.Float),
        sa.Column("needed", sa.Float, nullable=False),
        sa.Column("moved", sa.Text, nullable=False),
        sa.Column("alarmed_at", sa.Float),
        sa.Column("alert", sa.Integer),
        comment="How far each version's answers have been watched, and what the detectors have seen by then.",
    )
    op.create_table(
        "drift_settings",
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("values", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        comment="What a person set for one model in place of the server's settings, as JSON; empty model: for all.",
    )
    op.create_table(
        "drift_reports",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("report_date", sa.String(10), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("data_drift_score", sa.Float),
        sa.Column("prediction_drift_score", sa.Float),
        sa.Column("performance_drift_score", sa.Float),
        sa.Column("drift_detected", sa.Boolean, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        comment="Drift of a version's traffic and answers over 7 and 30 days; scores are effects of the 7.",
    )
    op.create_index("drift_reports_by_model", "drift_reports", ["model", "created_at"])

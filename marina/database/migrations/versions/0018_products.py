"""What the products' interface keeps: users' settings, answers by key, recommendations, market windows and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_ID = sa.String(128)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "product_users",
        sa.Column("user", _ID, primary_key=True),
        sa.Column("suspicious", sa.Float),
        sa.Column("anomalous", sa.Float),
        sa.Column("channels", sa.Text, nullable=False, server_default="[]"),
        sa.Column("language", sa.String(2), nullable=False, server_default="fr"),
        sa.Column("changed_at", sa.Float, nullable=False),
        comment="What a household has set: thresholds of odd transactions, and where its alerts are sent (JSON list).",
    )
    op.create_table(
        "product_answers",
        sa.Column("client", _ID, primary_key=True),
        sa.Column("key", _ID, primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.Text),
        sa.Column("time", sa.Float, nullable=False),
        comment="Answers to requests with an Idempotency-Key, and a hash of the request; without a status: under way.",
    )
    op.create_index("product_answers_by_time", "product_answers", ["time"])
    op.create_table(
        "product_recommendations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("user", _ID, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("request_id", _ID, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("relevant", sa.Boolean),
        sa.Column("judged_at", sa.Float),
        comment="Recommendations that were made, the finding (JSON) each was made from, and whether it was found "
        "relevant.",
    )
    op.create_index("product_recommendations_by_user", "product_recommendations", ["user", "time"])
    op.create_table(
        "product_truths",
        sa.Column("request_id", _ID, primary_key=True),
        sa.Column("instance", sa.Integer, primary_key=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("predicted", sa.String(256), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        comment="What was true of transactions that rules answered without a model, and what was said of them.",
    )
    op.create_index("product_truths_by_time", "product_truths", ["time"])
    op.create_table(
        "market_windows",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("time", sa.String(64), nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        comment="The market's last weeks as they were posted (JSON), by a hash of that.",
    )
    op.create_index("market_windows_by_time", "market_windows", ["received_at"])
    op.create_table(
        "market_alerts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("alert_type", sa.String(64), nullable=False),
        sa.Column("horizon", sa.Integer, nullable=False),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        comment="Market alerts that were sent, as they were (JSON); no more of a type than its pace allows.",
    )
    op.create_index("market_alerts_by_time", "market_alerts", ["alert_type", "time"])
    op.create_table(
        "product_settings",
        sa.Column("name", _ID, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("who", _ID, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        comment="What is set while the server runs (JSON); each change has its row in the ledger.",
    )
    op.create_table(
        "product_totals",
        sa.Column("replica", _ID, primary_key=True),
        sa.Column("name", _ID, primary_key=True),
        sa.Column("labels", sa.String(256), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        comment="Counters and gauges of the products' interface, for /metrics; labels are a JSON object.",
    )

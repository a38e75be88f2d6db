"""The tables of the products' interface, beside those of `marina.database.tables`.

All are written by marina.products: `product_users`, `product_recommendations` and `product_truths` by `user_settings`,
`product_answers` by `idempotency`, `market_windows` and `market_alerts` by `market_rows`, `product_settings` by
`market_config`, `product_totals` by `measures`.
"""

import sqlalchemy as sa

from marina.database.metadata import METADATA

_ID = sa.String(128)

USERS = sa.Table(
    "product_users",
    METADATA,
    sa.Column("user", _ID, primary_key=True),
    sa.Column("suspicious", sa.Float),
    sa.Column("anomalous", sa.Float),
    sa.Column("channels", sa.Text, nullable=False, server_default="[]"),
    sa.Column("language", sa.String(2), nullable=False, server_default="fr"),
    sa.Column("changed_at", sa.Float, nullable=False),
    comment="What a household has set: thresholds of odd transactions, and where its alerts are sent (JSON list).",
)

ANSWERS = sa.Table(
    "product_answers",
    METADATA,
    sa.Column("client", _ID, primary_key=True),
    sa.Column("key", _ID, primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.Column("time", sa.Float, nullable=False),
    sa.Index("product_answers_by_time", "time"),
    comment="Answers to requests with an Idempotency-Key, and a hash of the request; without a status: under way.",
)

RECOMMENDATIONS = sa.Table(
    "product_recommendations",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("user", _ID, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("finding", sa.Text, nullable=False),
    sa.Column("request_id", _ID, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("relevant", sa.Boolean),
    sa.Column("judged_at", sa.Float),
    sa.Column("tried_at", sa.Float),
    sa.Column("alerted_at", sa.Float),
    sa.Index("product_recommendations_by_user", "user", "time"),
    sa.Index("product_recommendations_by_time", "time"),
    comment="Recommendations that were made, the finding (JSON) each was made from, and whether it was found relevant.",
)

TRUTHS_OF_RULES = sa.Table(
    "product_truths",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("predicted", sa.String(256), nullable=False),
    sa.Column("label", sa.String(256), nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Index("product_truths_by_time", "time"),
    comment="What was true of transactions that rules answered without a model, and what was said of them.",
)

MARKET_WINDOWS = sa.Table(
    "market_windows",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("time", sa.String(64), nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Index("market_windows_by_time", "received_at"),
    comment="The market's last weeks as they were posted (JSON), by a hash of that.",
)

MARKET_ALERTS = sa.Table(
    "market_alerts",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("alert_type", sa.String(64), nullable=False),
    sa.Column("horizon", sa.Integer, nullable=False),
    sa.Column("alert", sa.Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Index("market_alerts_by_time", "alert_type", "time"),
    comment="Market alerts that were sent, as they were (JSON); no more of a type than its pace allows.",
)

PRODUCT_SETTINGS = sa.Table(
    "product_settings",
    METADATA,
    sa.Column("name", _ID, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("who", _ID, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    comment="What is set while the server runs (JSON); each change has its row in the ledger.",
)

PRODUCT_TOTALS = sa.Table(
    "product_totals",
    METADATA,
    sa.Column("replica", _ID, primary_key=True),
    sa.Column("name", _ID, primary_key=True),
    sa.Column("labels", sa.String(256), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    comment="Counters and gauges of the products' interface, for /metrics; labels are a JSON object.",
)

"""People who may use the console, the rules that they edit, and an index for a model's alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "people",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(256), nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.Column("added_by", sa.String(64), nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.Column("signed_out_at", sa.Float, nullable=False, server_default="0"),
        comment="Who may use the console, as what; `hash`: argon2 of the token; sessions from before `signed_out_at` "
        "are void.",
    )
    op.create_table(
        "rule_versions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        comment="Every version of the rules that categorise bank labels, as people edited them; the last one is in "
        "force for the next training.",
    )
    op.create_index("alerts_by_model", "alerts", ["model", "id"])
    op.create_index("open_alerts", "alerts", ["resolved_at", "model", "level"])
    op.create_index("ledger_by_model", "ledger", ["model", "seq"])

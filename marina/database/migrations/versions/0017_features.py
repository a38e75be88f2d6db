"""The feature store: rows, what the online store lacks, served samples, and what comparing them found."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"


def upgrade() -> None:
    """Make the tables."""
    view, schema, entity = sa.String(64), sa.String(8), sa.String(1024)
    op.create_table(
        "feature_rows",
        sa.Column("view", view, primary_key=True),
        sa.Column("schema", schema, primary_key=True),
        sa.Column("entity", entity, primary_key=True),
        *(sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False) for name in ("event", "known")),
        sa.Column("data", sa.LargeBinary, nullable=False),
        comment="Feature vectors, append only: of when they are, since when they are known, and the packed values.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feature_outbox",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("view", view, nullable=False),
        sa.Column("schema", schema, nullable=False),
        sa.Column("entities", sa.Text, nullable=False),
        sa.Column("written_at", sa.Float, nullable=False),
        comment="Entities, as JSON, whose rows were appended and have not reached the online store yet.",
    )
    op.create_table(
        "feature_samples",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("view", view, nullable=False),
        sa.Column("schema", schema, nullable=False),
        sa.Column("entity", entity, nullable=False),
        sa.Column("served", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary),
        comment="A share of the vectors that were served, byte for byte, until they have been compared; none: had "
        "none.",
    )
    op.create_index("feature_samples_by_time", "feature_samples", ["view", "served"])
    op.create_table(
        "feature_parity",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("view", view, nullable=False),
        sa.Column("checked_at", sa.Float, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("samples", "behind", "differing")),
        sa.Column("details", sa.Text, nullable=False),
        comment="How many served vectors were compared with the as-of join, and how many were not its, bit for bit.",
    )
    op.create_index("feature_parity_by_view", "feature_parity", ["view", "checked_at"])

"""What each client of an open rollout has met, by a hash of its session; whose answers and pairs are."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables and columns; a rollout that is open is judged by what comes from now on."""
    for table in ("predictions", "shadow_pairs"):
        op.add_column(table, sa.Column("client", sa.BigInteger(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        about = "One row per answered instance; `picked` when the gateway chose the version; `client`: a hash of whose."
        op.create_table_comment("predictions", about)
    names = ("requests", "errors", "shared", "timed", "slow")
    op.create_table(
        "tallies",
        sa.Column("rollout", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("sticky", sa.Boolean(), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in names),
        sa.PrimaryKeyConstraint("rollout", "step", "version", "sticky", "replica"),
        comment="Requests of an open rollout's versions since its step began; `sticky`: those that had a session.",
    )
    op.create_table(
        "clients",
        sa.Column("rollout", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("client", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in names),
        sa.PrimaryKeyConstraint("rollout", "step", "version", "client"),
        comment="The same of each session, by a hash of its key.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "looks",
        sa.Column("rollout", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("gate", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "step", "gate"),
        comment="What a gate's last look at the clients found.",
    )

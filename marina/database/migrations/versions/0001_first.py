"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    if sa.inspect(op.get_bind()).has_table(
        "declarations"
    ):  # from before there were migrations; declared again at a start
        op.drop_table("declarations")
    op.create_table(
        "declarations",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("input_share", sa.Float(), nullable=False),
        sa.Column("declared_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version"),
        comment="What should run, its share of its model's requests, and the least share of inputs to be logged.",
    )
    op.create_table(
        "evidence",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("latencies", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "replica", "start"),
        comment="Counts of gateway lines per version and window; latencies as {bucket: count}.",
    )
    op.create_index("evidence_by_start", "evidence", ["start"], unique=False)
    op.create_index("evidence_by_time", "evidence", ["model", "version", "start"], unique=False)
    op.create_table(
        "inputs",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("content_type", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "model", "version"),
        comment="The sampled share of request bodies, redacted.",
    )
    op.create_index("inputs_by_time", "inputs", ["model", "version", "time"], unique=False)
    op.create_table(
        "labels",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=256), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "instance"),
        comment="True labels, as they came; the first one stands.",
    )
    op.create_index("labels_by_time", "labels", ["time"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="Who alone may act, and until when.",
    )
    op.create_table(
        "ledger",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        comment="Every change of what is live, each row sealed with the hash of the one before.",
    )
    op.create_table(
        "positions",
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
        comment="How far each spool file and access log has been taken over, in bytes; moves with what was read.",
    )
    op.create_table(
        "predictions",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("picked", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(length=256), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("serving_ms", sa.Float(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "model", "version", "instance"),
        comment="One row per answered instance; `picked` when the gateway chose the version, not the client.",
    )
    op.create_index("predictions_by_time", "predictions", ["model", "version", "time"], unique=False)
    op.create_table(
        "replicas",
        sa.Column("replica", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("replica", "model", "version"),
        comment="What does run: each supervisor says so of each version, with the weight its gateway goes by.",
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("stable", sa.String(length=64), nullable=False),
        sa.Column("canary", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("stable_p95_ms", sa.Float(), nullable=True),
        sa.Column("started_by", sa.String(length=128), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("watched_since", sa.Float(), nullable=True),
        sa.Column("phase_since", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Every rollout, and where it stands.",
    )
    op.create_index("rollouts_by_model", "rollouts", ["model", "ended_at"], unique=False)
    op.create_table(
        "shadow_pairs",
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("shadow", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=False),
        sa.Column("stable", sa.String(length=64), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("stable_label", sa.String(length=256), nullable=True),
        sa.Column("shadow_label", sa.String(length=256), nullable=True),
        sa.Column("stable_confidence", sa.Float(), nullable=True),
        sa.Column("shadow_confidence", sa.Float(), nullable=True),
        sa.Column("stable_value", sa.Float(), nullable=True),
        sa.Column("shadow_value", sa.Float(), nullable=True),
        sa.Column("stable_ms", sa.Float(), nullable=True),
        sa.Column("shadow_ms", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", "model", "shadow", "instance"),
        comment="What a silent version answered to a request that another had answered before; `time` is the user's.",
    )
    op.create_index("shadow_pairs_by_time", "shadow_pairs", ["model", "shadow", "time"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("who", sa.String(length=128), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"],
            ["rollouts.id"],
        ),
        sa.PrimaryKeyConstraint("rollout", "who"),
        comment="Who agreed that a rollout may take all traffic.",
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"],
            ["rollouts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        comment="What the judge said, and on which counts: enough to compute it again.",
    )
    op.create_index(op.f("ix_verdicts_rollout"), "verdicts", ["rollout"], unique=False)

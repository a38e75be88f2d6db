"""Every table of the database. `events/migrations` brings a database to this state.

Times are seconds since 1970 in UTC, as floats; JSON is text, so that what is hashed or computed again is what was
stored, byte for byte.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()

_ID, _MODEL, _VERSION, _WHO = sa.String(128), sa.String(128), sa.String(64), sa.String(128)

DECLARATIONS = sa.Table(
    "declarations",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("archive", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("input_share", sa.Float, nullable=False),
    sa.Column("declared_at", sa.Float, nullable=False),
    comment="What should run, its share of its model's requests, and the least share of inputs to be logged.",
)

REPLICAS = sa.Table(
    "replicas",
    METADATA,
    sa.Column("replica", _ID, primary_key=True),
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    comment="What does run: each supervisor says so of each version, with the weight its gateway goes by.",
)

PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("picked", sa.Boolean, nullable=False),
    sa.Column("label", sa.String(256)),
    sa.Column("confidence", sa.Float),
    sa.Column("value", sa.Float),
    sa.Column("serving_ms", sa.Float),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Index("predictions_by_time", "model", "version", "time"),
    comment="One row per answered instance; `picked` when the gateway chose the version, not the client.",
)

INPUTS = sa.Table(
    "inputs",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("content_type", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("inputs_by_time", "model", "version", "time"),
    comment="The sampled share of request bodies, redacted.",
)

LABELS = sa.Table(
    "labels",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("label", sa.String(256), nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Index("labels_by_time", "time"),
    comment="True labels, as they came; the first one stands.",
)

POSITIONS = sa.Table(
    "positions",
    METADATA,
    sa.Column("source", sa.String(255), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    comment="How far each spool file and access log has been taken over, in bytes; moves with what was read.",
)

EVIDENCE = sa.Table(
    "evidence",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("replica", _ID, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("latencies", sa.Text, nullable=False),
    sa.Index("evidence_by_time", "model", "version", "start"),
    sa.Index("evidence_by_start", "start"),
    comment="Counts of gateway lines per version and window; latencies as {bucket: count}.",
)

ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", _MODEL, nullable=False),
    sa.Column("stable", _VERSION, nullable=False),
    sa.Column("canary", _VERSION, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("stable_p95_ms", sa.Float),
    sa.Column("started_by", _WHO, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("watched_since", sa.Float),
    sa.Column("phase_since", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("rollouts_by_model", "model", "ended_at"),
    comment="Every rollout, and where it stands.",
)

APPROVALS = sa.Table(
    "approvals",
    METADATA,
    sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), primary_key=True),
    sa.Column("who", _WHO, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    comment="Who agreed that a rollout may take all traffic.",
)

VERDICTS = sa.Table(
    "verdicts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), nullable=False, index=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("findings", sa.Text, nullable=False),
    comment="What the judge said, and on which counts: enough to compute it again.",
)

LEDGER = sa.Table(
    "ledger",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("who", _WHO, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("model", _MODEL, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    comment="Every change of what is live, each row sealed with the hash of the one before.",
)

SHADOW_PAIRS = sa.Table(
    "shadow_pairs",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("shadow", _VERSION, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("stable", _VERSION, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("stable_label", sa.String(256)),
    sa.Column("shadow_label", sa.String(256)),
    sa.Column("stable_confidence", sa.Float),
    sa.Column("shadow_confidence", sa.Float),
    sa.Column("stable_value", sa.Float),
    sa.Column("shadow_value", sa.Float),
    sa.Column("stable_ms", sa.Float),
    sa.Column("shadow_ms", sa.Float),
    sa.Index("shadow_pairs_by_time", "model", "shadow", "time"),
    comment="What a silent version answered to a request that another had answered before; `time` is the user's.",
)

LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", _ID, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    comment="Who alone may act, and until when.",
)

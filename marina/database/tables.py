"""Every table of the database. `migrations` brings a database to this state.

Each table is written by one package, and by the module named here; others only read it.

==============================  ===================================================================
declarations, label_sets        marina.releases.declarations, marina.releases.label_sets
replicas                        marina.rollout.replica_sync
ledger                          marina.releases.ledger
leases                          marina.releases.lease, marina.releases.server_name
rollouts                        marina.rollout.rollouts
approvals                       marina.rollout.operator_commands
verdicts                        marina.rollout.verdicts
looks                           marina.rollout.evidence_query
shadow_pairs                    marina.rollout.shadow.pending_inputs
predictions, inputs             marina.events.collector
positions                       whose names they are: marina.events.offsets
evidence                        marina.events.access_log
tallies, clients                marina.events.client_tallies
labels, truths, early_labels    marina.events.labels
metric_totals                   marina.events.metric_totals
alerts, alert_actions           marina.monitoring.alerts
drift_detectors                 marina.monitoring.detector_rows
drift_settings, drift_reports   marina.monitoring.watch_settings, marina.monitoring.drift_reports
feature_*                       marina.features.offline, marina.features.parity
raw_*, bad_rows                 training.data.rows.importer, training.data.rows.loader
==============================  ===================================================================

What is past keeping is deleted by marina.events.retention and marina.events.client_tallies.

Times are seconds since 1970 in UTC, as floats; JSON is text, so that what is hashed or computed again is what was
stored, byte for byte.
"""

import sqlalchemy as sa

from marina.database import metadata

METADATA = metadata.METADATA
_ID = _MODEL = _WHO = sa.String(128)
_VERSION = _SOURCE = sa.String(64)

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
    sa.Column("signed_by", sa.String(64), nullable=False, server_default=""),
    sa.Column("workers", sa.Integer, nullable=False, server_default="0"),
    comment="What should run, its share of its model's requests, and the least share of inputs to be logged.",
)

LABEL_SETS = sa.Table(
    "label_sets",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("truth", sa.String(16), nullable=False, server_default=""),
    comment="The classes of each version that was ever declared, as a JSON list; empty where it has none.",
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
    sa.Column("client", sa.BigInteger),
    sa.Column("summary", sa.Text),
    sa.Index("predictions_by_time", "model", "version", "time"),
    comment="One row per answered instance; `picked` when the gateway chose the version; `client`: a hash of whose; "
    "`summary`: a JSON list of the numbers that its contract names.",
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
    sa.Column("source", _SOURCE, nullable=False, server_default=""),
    sa.Index("labels_by_time", "time"),
    comment="True labels of answers that are there, since when they count, and whose they are.",
)

TRUTHS = sa.Table(
    "truths",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("truth", sa.Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("source", _SOURCE, nullable=False, server_default=""),
    sa.Index("truths_by_time", "time"),
    comment="What is true of answers that are no single label, as JSON by part: questions, rows or numbers.",
)

EARLY_LABELS = sa.Table(
    "early_labels",
    METADATA,
    sa.Column("request_id", _ID, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("source", _SOURCE, primary_key=True),
    sa.Column("label", sa.String(256), nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("truth", sa.Text, nullable=False, server_default=""),
    sa.Index("early_labels_by_source", "source"),
    sa.Index("early_labels_by_time", "time"),
    comment="True labels whose answer is not there yet; few, and not for long.",
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
    sa.Column("retried", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("evidence_by_time", "model", "version", "start"),
    sa.Index("evidence_by_start", "start"),
    comment="Counts of gateway lines per version and window; latencies as {bucket: count}; `retried`: a worker died.",
)

_COUNTS = ("requests", "errors", "shared", "timed", "slow")

TALLIES = sa.Table(
    "tallies",
    METADATA,
    sa.Column("rollout", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("sticky", sa.Boolean, primary_key=True),
    sa.Column("replica", _ID, primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
    comment="Requests of an open rollout's versions since its step began; `sticky`: those that had a session.",
)

CLIENTS = sa.Table(
    "clients",
    METADATA,
    sa.Column("rollout", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("client", sa.BigInteger, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
    comment="The same of each session, by a hash of its key.",
    sqlite_with_rowid=False,
)

LOOKS = sa.Table(
    "looks",
    METADATA,
    sa.Column("rollout", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("gate", sa.String(16), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("seen", sa.Text, nullable=False),
    comment="What a gate's last look at the clients found.",
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
    sa.Column("stuck_since", sa.Float),
    sa.Column("stuck_on", sa.Text, nullable=False, server_default=""),
    sa.Column("waiting_for", sa.String(16), nullable=False, server_default=""),
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
    sa.Column("signer", sa.String(64)),
    sa.Column("signature", sa.String(88)),
    comment="Every change of what is live, each row sealed with the hash of the one before, and signed.",
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
    sa.Column("client", sa.BigInteger),
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

METRIC_TOTALS = sa.Table(
    "metric_totals",
    METADATA,
    sa.Column("replica", _ID, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("totals", sa.Text, nullable=False),
    comment="What a server's counters were at a time, as JSON, so that they continue when it starts again.",
)

ALERTS = sa.Table(
    "alerts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", _MODEL, nullable=False),
    sa.Column("version", _VERSION, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("effect", sa.Float, nullable=False),
    sa.Column("evidence", sa.Float, nullable=False),
    sa.Column("needed", sa.Float, nullable=False),
    sa.Column("harm", sa.Text, nullable=False),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("resolved_at", sa.Float),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("sent", sa.String(16), nullable=False, server_default=""),
    sa.Index("alerts_by_key", "model", "version", "kind", "name", "resolved_at"),
    sa.Index("alerts_by_end", "resolved_at"),
    comment="What was found, since when and on which evidence; open until it ends; `sent`: what people know of it.",
)

ALERT_ACTIONS = sa.Table(
    "alert_actions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("alert", sa.Integer, sa.ForeignKey("alerts.id"), nullable=False, index=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("who", _WHO, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    comment="What people did about an alert, and why.",
)

DRIFT_DETECTORS = sa.Table(
    "drift_detectors",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("request_id", _ID, nullable=False),
    sa.Column("instance", sa.Integer, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("batches", "requests")),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("evidence", sa.Float),
    sa.Column("needed", sa.Float, nullable=False),
    sa.Column("moved", sa.Text, nullable=False),
    sa.Column("alarmed_at", sa.Float),
    sa.Column("alert", sa.Integer),
    comment="How far each version's answers have been watched, and what the detectors have seen by then.",
)

DRIFT_SETTINGS = sa.Table(
    "drift_settings",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("values", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    comment="What a person set for one model in place of the server's settings, as JSON; empty model: for all.",
)

DRIFT_REPORTS = sa.Table(
    "drift_reports",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("report_date", sa.String(10), nullable=False),
    sa.Column("model", _MODEL, nullable=False),
    sa.Column("version", _VERSION, nullable=False),
    *(sa.Column(f"{what}_drift_score", sa.Float) for what in ("data", "prediction", "performance")),
    sa.Column("drift_detected", sa.Boolean, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("drift_reports_by_model", "model", "created_at"),
    comment="Drift of a version's traffic and answers over 7 and 30 days; scores are effects of the 7.",
)

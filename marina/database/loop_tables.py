"""The tables of the loop, beside those of `marina.database.tables`.

`trainings` is written by marina.pipelines.trainings, `loop_steps` by marina.pipelines.steps, `held_out_checks` by
marina.monitoring.held_out_checks; others only read them.
"""

import sqlalchemy as sa

from marina.database.tables import METADATA

_MODEL = sa.String(128)
_VERSION = sa.String(64)

TRAININGS = sa.Table(
    "trainings",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("family", _MODEL, nullable=False),
    sa.Column("data", sa.String(64), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("version", _VERSION, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("result", sa.Text, nullable=False),
    sa.Index("trainings_by_family", "family", "started_at"),
    comment="Automatic trainings, one per family, data, code and reason: running, done or failed, and what came of it.",
)

LOOP_STEPS = sa.Table(
    "loop_steps",
    METADATA,
    sa.Column("run", sa.String(64), primary_key=True),
    sa.Column("family", _MODEL, primary_key=True),
    sa.Column("step", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("exit", sa.Integer),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    comment="Steps of the recurring runs: running, done or failed, how their command ended, and its JSON result.",
)

HELD_OUT_CHECKS = sa.Table(
    "held_out_checks",
    METADATA,
    sa.Column("model", _MODEL, primary_key=True),
    sa.Column("version", _VERSION, primary_key=True),
    sa.Column("time", sa.Float, primary_key=True),
    sa.Column("data", sa.String(64), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("accuracy", sa.Float, nullable=False),
    sa.Column("low", sa.Float, nullable=False),
    sa.Column("high", sa.Float, nullable=False),
    comment="Accuracy of a live version on held-out rows, with its 95 % interval, each time they were asked.",
)

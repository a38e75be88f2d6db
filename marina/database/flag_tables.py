"""The tables of feature flags, beside those of `marina.database.tables`.

All are written by marina.products.flags: `flags` by its table, `flag_guards` by its guard, `flag_outcomes` by its
outcomes. Others only read them.
"""

import sqlalchemy as sa

from marina.database.tables import METADATA

_FLAG = sa.String(64)
_KEY = sa.String(128)
_ITEM = sa.String(160)

FLAGS = sa.Table(
    "flags",
    METADATA,
    sa.Column("name", _FLAG, primary_key=True),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("users", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("changed_by", _KEY, nullable=False),
    sa.Column("guard", sa.Integer),
    comment="Feature flags that were ever changed: share of the units for which it is on, and units for which it is.",
)

FLAG_GUARDS = sa.Table(
    "flag_guards",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("flag", _FLAG, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("step_since", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("looks", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("flag_guards_by_phase", "phase"),
    comment="Flags that are rolled out step by step: where each stands, and the last look at its units, as JSON.",
)

FLAG_OUTCOMES = sa.Table(
    "flag_outcomes",
    METADATA,
    sa.Column("flag", _FLAG, primary_key=True),
    sa.Column("item", _ITEM, primary_key=True),
    sa.Column("guard", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("arm", sa.Boolean, nullable=False),
    sa.Column("unit", _KEY, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("error", sa.Boolean, nullable=False),
    sa.Index("flag_outcomes_by_guard", "guard", "step", "arm"),
    comment="What came of items (a request, or a place in one) whose unit was drawn for a guarded flag.",
)

FLAG_TRUTHS = sa.Table(
    "flag_truths",
    METADATA,
    sa.Column("item", _ITEM, primary_key=True),
    sa.Column("correct", sa.Boolean, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    comment="Whether the answer to an item was right, as feedback says; it may come before the item's outcome.",
)

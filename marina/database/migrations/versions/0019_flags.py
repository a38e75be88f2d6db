"""Feature flags, their guards, and what came of requests under them."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "flags",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("share", sa.Float, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("users", "reason")),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.Column("changed_by", sa.String(128), nullable=False),
        sa.Column("guard", sa.Integer),
        comment="Feature flags that were ever changed: share of the units for which it is on, and units for which it "
        "is.",
    )
    op.create_table(
        "flag_guards",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("flag", sa.String(64), nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("step_since", "started_at")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("looks", "note")),
        comment="Flags that are rolled out step by step: where each stands, and the last look at its units, as JSON.",
    )
    op.create_index("flag_guards_by_phase", "flag_guards", ["phase"])
    op.create_table(
        "flag_outcomes",
        *(sa.Column(name, sa.String(size), primary_key=True) for name, size in (("flag", 64), ("item", 160))),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("guard", "step")),
        sa.Column("arm", sa.Boolean, nullable=False),
        sa.Column("unit", sa.String(128), nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("error", sa.Boolean, nullable=False),
        comment="What came of items (a request, or a place in one) whose unit was drawn for a guarded flag.",
    )
    op.create_index("flag_outcomes_by_guard", "flag_outcomes", ["guard", "step", "arm"])
    op.create_table(
        "flag_truths",
        sa.Column("item", sa.String(160), primary_key=True),
        sa.Column("correct", sa.Boolean, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        comment="Whether the answer to an item was right, as feedback says; it may come before the item's outcome.",
    )

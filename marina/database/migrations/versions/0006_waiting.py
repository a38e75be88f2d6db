"""What a rollout waits for and what it is stuck on: columns of their own, no longer words of its note."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

STUCK = "(stuck: "
WAITS = {" is ready nowhere": "ready", " is not ready: ": "ready", " still sends traffic to ": "routing"}
AGREE = " to agree to all traffic: "


def upgrade() -> None:
    """Add the columns, and fill them from the notes of open rollouts."""
    op.add_column("rollouts", sa.Column("stuck_since", sa.Float(), nullable=True))
    op.add_column("rollouts", sa.Column("stuck_on", sa.Text(), server_default="", nullable=False))
    op.add_column("rollouts", sa.Column("waiting_for", sa.String(length=16), server_default="", nullable=False))
    connection = op.get_bind()
    rollouts = sa.table(
        "rollouts",
        *(sa.column(name) for name in ("id", "model", "phase_since", "ended_at", "note")),
        *(sa.column(name) for name in ("stuck_since", "stuck_on", "waiting_for")),
    )
    ledger = sa.table("ledger", *(sa.column(name) for name in ("time", "action", "model")))
    for row in connection.execute(sa.select(rollouts).where(rollouts.c.ended_at.is_(None))).all():
        reason, stuck, what = row.note.partition(STUCK)
        values = {"note": reason.rstrip() if stuck else row.note}
        if stuck:
            reported = sa.select(sa.func.max(ledger.c.time)).where(
                ledger.c.model == row.model, ledger.c.action == "stuck", ledger.c.time >= row.phase_since
            )
            since = connection.execute(reported).scalar_one()
            values |= {"stuck_on": what.removesuffix(")"), "stuck_since": row.phase_since if since is None else since}
            values["waiting_for"] = next((name for words, name in WAITS.items() if words in what), "")
        if not values.get("waiting_for") and reason.startswith("waits for ") and AGREE in reason:
            values["waiting_for"] = "approval"
        connection.execute(sa.update(rollouts).where(rollouts.c.id == row.id).values(values))

"""Rows of the ledger are signed, and neither changed nor deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

REFUSE = "rows of the ledger are neither changed nor deleted"


def upgrade() -> None:
    """Add the columns and the triggers."""
    op.add_column("ledger", sa.Column("signer", sa.String(length=64), nullable=True))
    op.add_column("ledger", sa.Column("signature", sa.String(length=88), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        about = "Every change of what is live, each row sealed with the hash of the one before, and signed."
        op.create_table_comment("ledger", about)
        op.execute(
            "CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{REFUSE}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER ledger_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
        )
        return
    for what, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", "WHEN NEW.seq IN (SELECT seq FROM ledger) ")):
        op.execute(
            f"CREATE TRIGGER ledger_kept_{what.lower()} BEFORE {what} ON ledger {when}"
            f"BEGIN SELECT RAISE(ABORT, '{REFUSE}'); END"
        )

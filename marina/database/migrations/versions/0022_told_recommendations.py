"""When users were told of recommendations. Of those there are already, they were told when these were made."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the columns."""
    for name in ("tried_at", "alerted_at"):
        op.add_column("product_recommendations", sa.Column(name, sa.Float))
    op.execute("UPDATE product_recommendations SET alerted_at = time")

"""Who vouches for the archive of a declared version."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("declarations", sa.Column("signed_by", sa.String(length=64), server_default="", nullable=False))

"""How many workers a version is to have, where that is not its archive's own number."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; 0 is the archive's own number."""
    op.add_column("declarations", sa.Column("workers", sa.Integer(), server_default="0", nullable=False))

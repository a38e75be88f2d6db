"""What the inputs of logged predictions were like, in the numbers that their contracts name."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; answers from before there were summaries have none."""
    op.add_column("predictions", sa.Column("summary", sa.Text()))
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        about = (
            "One row per answered instance; `picked` when the gateway chose the version; `client`: a hash of whose; "
            "`summary`: a JSON list of the numbers that its contract names."
        )
        op.create_table_comment("predictions", about)

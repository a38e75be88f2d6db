"""The newest recommendations of all users are found without reading every one."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Make the index."""
    op.create_index("product_recommendations_by_time", "product_recommendations", ["time"])

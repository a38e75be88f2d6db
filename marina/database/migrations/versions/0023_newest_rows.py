"""The newest recommendations, and what was decided lately, are found without reading every row."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("alert_actions_by_time", "alert_actions", ["time"])
    op.create_index("product_recommendations_by_time", "product_recommendations", ["time"])

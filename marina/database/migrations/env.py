"""Alembic's entry: `Database.upgrade` brings its own connection and transaction.

A change of `marina/database/tables.py` needs a new file in `versions/`; a test says what it lacks.
"""

from alembic import context

from marina.database import backup_tables, console_tables, flag_tables, loop_tables, product_tables  # noqa: F401 - their tables are then known to METADATA
from marina.database.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="marina_schema",
    render_as_batch=True,
)
context.run_migrations()

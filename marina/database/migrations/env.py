"""Alembic's entry: `Database.upgrade` brings its own connection and transaction.

A change of a table needs a new file in `versions/`; a test says what it lacks.
"""

from alembic import context

from marina.database.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="marina_schema",
    render_as_batch=True,
)
context.run_migrations()

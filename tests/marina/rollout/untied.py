"""The ledger as somebody meets it who may change the database's definition, not only its rows."""

import sqlalchemy as sa


def untie(connection: sa.Connection) -> None:
    """Take away what refuses to change or delete rows of the ledger."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS ledger_kept ON ledger")
        return
    for what in ("update", "delete", "insert"):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS ledger_kept_{what}")

"""Every table of the database: who needs them all takes `METADATA` from here."""

from marina.database import (
    backup_tables,
    console_tables,
    feature_tables,
    flag_tables,
    loop_tables,
    product_tables,
    raw_tables,
    tables,
)
from marina.database.metadata import METADATA

MODULES = (
    backup_tables, console_tables, feature_tables, flag_tables, loop_tables, product_tables, raw_tables, tables,
)  # fmt: skip

__all__ = ["METADATA", "MODULES"]

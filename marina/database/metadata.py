"""What all tables of the database belong to; `marina.database.tables` names every one of them."""

import sqlalchemy as sa

METADATA = sa.MetaData()

"""The tables of the feature store, beside those of `marina.database.tables`.

`feature_rows` and `feature_outbox` are written by marina.features.offline, `feature_samples` and `feature_parity` by
marina.features.parity; others only read them. `event`, `known` and `served` are microseconds since 1970, so that what
is compared is exact in every store.
"""

import sqlalchemy as sa

from marina.database.metadata import METADATA

_VIEW = sa.String(64)
_SCHEMA = sa.String(8)
_ENTITY = sa.String(1024)

FEATURE_ROWS = sa.Table(
    "feature_rows",
    METADATA,
    sa.Column("view", _VIEW, primary_key=True),
    sa.Column("schema", _SCHEMA, primary_key=True),
    sa.Column("entity", _ENTITY, primary_key=True),
    sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("known", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    comment="Feature vectors, append only: of when they are, since when they are known, and the packed values.",
    sqlite_with_rowid=False,
)

FEATURE_OUTBOX = sa.Table(
    "feature_outbox",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("view", _VIEW, nullable=False),
    sa.Column("schema", _SCHEMA, nullable=False),
    sa.Column("entities", sa.Text, nullable=False),
    sa.Column("written_at", sa.Float, nullable=False),
    comment="Entities, as JSON, whose rows were appended and have not reached the online store yet.",
)

FEATURE_SAMPLES = sa.Table(
    "feature_samples",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("view", _VIEW, nullable=False),
    sa.Column("schema", _SCHEMA, nullable=False),
    sa.Column("entity", _ENTITY, nullable=False),
    sa.Column("served", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary),
    sa.Index("feature_samples_by_time", "view", "served"),
    comment="A share of the vectors that were served, byte for byte, until they have been compared; none: had none.",
)

FEATURE_PARITY = sa.Table(
    "feature_parity",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("view", _VIEW, nullable=False),
    sa.Column("checked_at", sa.Float, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("samples", "behind", "differing")),
    sa.Column("details", sa.Text, nullable=False),
    sa.Index("feature_parity_by_view", "view", "checked_at"),
    comment="How many served vectors were compared with the as-of join, and how many were not its, bit for bit.",
)

"""A share of the vectors that were served, byte for byte, kept until they are compared with the offline store."""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.feature_tables import FEATURE_SAMPLES
from marina.features.vectors import Vectors
from marina.processes.console import log

MOST_WAITING: Final = 1000
"""What comes faster than it can be kept is no sample: the oldest leave."""


@dataclass(frozen=True)
class Sample:
    """A served vector: whose, when (microseconds since 1970), and its bytes."""

    view: str
    schema: str
    entity: str
    served: int
    data: bytes | None


def choose(vectors: Vectors) -> Sample:
    """Return one of the rows that were just read."""
    row = random.randrange(len(vectors))
    view = vectors.view
    return Sample(view.name, view.schema, vectors.entities[row], int(vectors.at), vectors.packed[row])


def keep(database: Database, taken: Sequence[Sample]) -> None:
    """Keep samples; where the database is unavailable they are lost, which costs nothing but the samples."""
    if not taken:
        return
    try:
        with database.writing() as connection:
            connection.execute(sa.insert(FEATURE_SAMPLES), [vars(sample) for sample in taken])
    except AWAY:
        log(f"features: the database is unavailable; {len(taken)} samples for the parity check are lost", sys.stderr)

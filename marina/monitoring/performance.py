"""How many points a version has lost, by the labels and truths that came, against what it reached on held-out data.

An answer of several parts (questions, rows, numbers) is right by 1 less its loss (`models.quality.tallies`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.tables import PREDICTIONS
from marina.events.labelled_predictions import IS_RIGHT, select_labelled
from marina.events.quality import count_quality
from models.quality.answers import WHOLE
from models.quality.intervals import upper_bound

HELD_OUT = ("accuracy",)
"""Names under which families keep the share of right answers among an archive's metrics."""

Z = 1.96


@dataclass(frozen=True)
class Performance:
    """The share of right answers.

    Attributes
    ----------
    answered, labelled, right
        Answers, those whose truth came, and how many of them were right; of answers of several parts, the sum of the
        shares that were.
    held_out
        The share on held-out data, when the archive was built; None where its metrics have none.
    grouping
        How many rows of the same client a row is among: so many count as one.
    """

    answered: int
    labelled: int
    right: float
    held_out: float | None
    grouping: float = 1.0

    @property
    def accuracy(self) -> float | None:
        """The share among labelled answers; None without labels."""
        return self.right / self.labelled if self.labelled else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of it."""
        if not self.labelled:
            return 0.0, 1.0
        share, rows = self.right / self.labelled, self.labelled / self.grouping
        return 1 - float(upper_bound(1 - share, rows, Z)), float(upper_bound(share, rows, Z))

    @property
    def lost(self) -> tuple[float, float, float] | None:
        """Points of accuracy lost against held-out data, with their interval; None where that is not known."""
        if self.held_out is None or self.accuracy is None:
            return None
        low, high = self.interval
        return 100 * (self.held_out - self.accuracy), 100 * (self.held_out - high), 100 * (self.held_out - low)

    @property
    def effect(self) -> float | None:
        """What is lost, as a share: 0 where the interval does not exclude that nothing is."""
        if self.lost is None:
            return None
        return max(0.0, self.lost[0] / 100) if self.lost[1] > 0 else 0.0

    @property
    def harm(self) -> str:
        """The same for people."""
        of = f"{self.labelled:,} of {self.answered:,} answers labelled"
        if self.lost is None:
            return f"not measured: {of}"
        lost, low, high = self.lost
        return f"{lost:+.1f} points of accuracy lost ({low:+.1f} to {high:+.1f}); {of}"


def measure(
    connection: sa.Connection,
    model: str,
    version: str,
    since: float,
    until: float,
    answered: int,
    held_out: float | None,
    grouping: float,
) -> Performance:
    """Count the right answers of a stretch of time, by when they were given; of truths in parts, by when these came."""
    mine = (PREDICTIONS.c.model == model, PREDICTIONS.c.version == version)
    when = (PREDICTIONS.c.time >= since, PREDICTIONS.c.time < until)
    hits = sa.func.sum(sa.case((IS_RIGHT, 1), else_=0))
    row = connection.execute(select_labelled(sa.func.count(), hits).where(*mine, *when)).one()
    labelled, right = int(row[0]), float(row[1] or 0)
    if not labelled:
        known = count_quality(connection, since, until, model).get((model, version))
        for sums in [sums for kind, sums in known.sums.items() if kind != "label"] if known else ():
            labelled += int(sums["answers", WHOLE])
            right += sums["answers", WHOLE] - sums["loss", WHOLE]
    return Performance(answered, labelled, right, held_out, grouping)


def held_out_accuracy(provenance: Mapping[str, object]) -> float | None:
    """Return the share of right answers on held-out data that an archive's provenance has; None where there is none."""
    metrics = provenance.get("metrics")
    if not isinstance(metrics, Mapping):
        return None
    found = [metrics[name] for name in HELD_OUT if name in metrics]
    return float(found[0]) if found and isinstance(found[0], (int, float)) and math.isfinite(found[0]) else None

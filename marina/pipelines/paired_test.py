"""Which of two versions errs less on the same rows: a one-sided test by group whose level holds for any sample size.

Under the hypothesis that both are equally good, each group's difference is as likely to have the one sign as the other.
The sum of the groups' differences, in units of the root of the sum of their squares, is then a weighted sum of fair
signs, whose tail is at most `TIGHT` times the normal one (Bentkus & Dzindzalieta, 2015, "A tight Gaussian bound for
weighted sums of Rademacher random variables"). For right and wrong answers this is McNemar's statistic for clustered
pairs (Durkalski et al., 2003).
"""

import math
import statistics
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NORMAL = statistics.NormalDist()

TIGHT = 0.25 / (1 - NORMAL.cdf(math.sqrt(2)))
"""About 3.18; reached by two groups of equal weight."""

POWER = 0.8
"""With which probability a difference is found, of as many rows as are said to be needed."""


@dataclass(frozen=True)
class PairedTest:
    """What the same rows say of two versions.

    Attributes
    ----------
    rows, groups
        How many were compared.
    gain
        Mean loss of the first minus that of the second; above 0 the second is better.
    z
        The statistic.
    """

    rows: int
    groups: int
    gain: float
    z: float

    @property
    def p(self) -> float:
        """Probability, at most, of such a gain or a larger one if neither were better."""
        return min(1.0, TIGHT * 0.5 * math.erfc(self.z / math.sqrt(2)))

    def rows_needed(self, level: float) -> int | None:
        """Return about how many such rows would show this gain with probability `POWER`; None where there is none."""
        if self.z <= 0:
            return None
        return math.ceil(self.rows * ((critical(level) + NORMAL.inv_cdf(POWER)) / self.z) ** 2)


def critical(level: float) -> float:
    """Return the statistic from which on a gain is shown at a level."""
    return -NORMAL.inv_cdf(level / TIGHT)


def compare(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], groups: npt.NDArray[np.generic]
) -> PairedTest:
    """Compare losses of two versions on the same rows.

    Parameters
    ----------
    before, after
        What each row cost, float [N]; less is better.
    groups
        What must not be taken apart, [N]: all rows of one are one observation.

    Raises
    ------
    ValueError
        When there is no row, or the three are not of one length.
    """
    if not len(before) or not len(before) == len(after) == len(groups):
        raise ValueError(f"expected losses of the same rows, got {len(before)}, {len(after)}, {len(groups)} groups")
    difference = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    names, of = np.unique(groups, return_inverse=True)
    sums = np.bincount(of, weights=difference)
    spread = math.sqrt(float(np.square(sums).sum()))
    z = float(sums.sum()) / spread if spread > 0 else 0.0
    return PairedTest(len(difference), len(names), float(difference.mean()), z)

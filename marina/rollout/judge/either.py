"""Two scores of which either may decide."""

import math


def either(one: float, other: float) -> float:
    """Return the evidence that two scores give together.

    Each has half of the error budget, which holds whatever the two have to do with each other (Bonferroni). Their mean
    would not: a client may be known to the one before it is counted by the other, whose bet is then no longer fair.
    """
    return max(one, other) - math.log(2)

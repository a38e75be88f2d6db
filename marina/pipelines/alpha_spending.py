"""How much of the error probability each look at held-out rows may spend.

The k-th look of the last 365 days is at the level alpha / (k (k + 1)). The j-th look of any year is at least the j-th
of its own last 365 days, so that the levels of one year's looks sum to alpha at most: so often, at most, a version that
is no better is promoted in a year, however many are tried (a union bound; Foster & Stine, 2008: alpha spending).
"""

from collections.abc import Iterable

ALPHA = 0.05
YEAR_S = 365 * 86_400.0


def level(look: int, alpha: float = ALPHA) -> float:
    """Return the level of a look, counted from 1.

    Examples
    --------
    >>> level(1), round(sum(level(k) for k in range(1, 53)), 4)
    (0.025, 0.0491)
    """
    if look < 1:
        raise ValueError(f"expected a look from 1 on, got {look}")
    return alpha / (look * (look + 1))


def next_look(looked_at: Iterable[float], now: float) -> int:
    """Return the number of a look now, by when the earlier ones were (seconds since 1970)."""
    return 1 + sum(now - YEAR_S < one for one in looked_at)

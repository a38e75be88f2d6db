"""How far two distributions are apart, in the figures that are usual for drift, and what chance alone makes of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

TERMS = np.arange(1, 101)
"""Of Kolmogorov's series."""


def kolmogorov(reference: ArrayLike, observed: ArrayLike) -> Floats:
    """Return p-values of the two-sample Kolmogorov-Smirnov test for counts in ordered bins.

    Parameters
    ----------
    reference, observed : array_like, shape (..., bins)
        Counts. With bins the test is conservative: it is right less often than it could be, never more often wrong.

    Returns
    -------
    ndarray of float
        From 0 to 1; 1 where a side is empty. Asymptotic, with Stephens' correction (1970).
    """
    one, other = np.asarray(reference, np.float64), np.asarray(observed, np.float64)
    n, m = one.sum(axis=-1), other.sum(axis=-1)
    filled = (n > 0) & (m > 0)
    first = np.cumsum(one, axis=-1) / np.maximum(n, 1)[..., None]
    second = np.cumsum(other, axis=-1) / np.maximum(m, 1)[..., None]
    root = np.sqrt(np.where(filled, n * m / np.maximum(n + m, 1), 0.0))
    distance = np.abs(first - second).max(axis=-1)
    return np.where(filled, kolmogorov_tail((root + 0.12 + 0.11 / np.maximum(root, 1e-9)) * distance), 1.0)


def kolmogorov_samples(reference: ArrayLike, observed: ArrayLike) -> tuple[float, float]:
    """Return distance and p-value of the two-sample Kolmogorov-Smirnov test for numbers; NaN are left out."""
    one, other = (np.sort(side[np.isfinite(side)]) for side in map(_numbers, (reference, observed)))
    if not len(one) or not len(other):
        return 0.0, 1.0
    both = np.concatenate([one, other])
    shares = [np.searchsorted(side, both, side="right") / len(side) for side in (one, other)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    root = np.sqrt(len(one) * len(other) / len(both))
    return distance, float(kolmogorov_tail((root + 0.12 + 0.11 / root) * distance))


def kolmogorov_tail(value: ArrayLike) -> Floats:
    """Return the probability that Kolmogorov's statistic exceeds a value."""
    x = np.asarray(value, np.float64)[..., None]
    tail = 2 * ((-1.0) ** (TERMS - 1) * np.exp(-2 * (TERMS * x) ** 2)).sum(axis=-1)
    return np.where(x[..., 0] < 0.2, 1.0, np.clip(tail, 0.0, 1.0))


def population_stability(reference: ArrayLike, observed: ArrayLike) -> Floats:
    """Return the population stability index of counts in bins: the sum of (q - p) ln(q / p).

    Half a count is added to each bin, so that empty ones do not make it infinite.
    """
    p, q = _shares(reference), _shares(observed)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def expected_stability(reference: ArrayLike, observed: ArrayLike, dispersion: ArrayLike = 1.0) -> Floats:
    """Return what the index is expected to be without drift, at these sample sizes.

    Each sample adds (bins - 1) / size: the index is asymptotically a chi-squared over the sizes (Yurdakul, 2018). A
    bin of which less than one row is expected adds what is expected of it.

    Parameters
    ----------
    reference, observed : array_like, shape (..., bins)
        Counts.
    dispersion
        How many times more the observed counts vary than those of independent requests.
    """
    one, other = np.asarray(reference, np.float64), np.asarray(observed, np.float64)
    n, m = np.maximum(one.sum(axis=-1), 1), np.maximum(other.sum(axis=-1), 1)
    return np.asarray((_used(one + other) - 1) * (1 / n + dispersion / m))


def stability_beyond_chance(reference: ArrayLike, observed: ArrayLike, dispersion: ArrayLike = 1.0) -> Floats:
    """Return the index minus what it is expected to be without drift, 0 at least: an effect, comparable at any size."""
    beyond = population_stability(reference, observed) - expected_stability(reference, observed, dispersion)
    return np.maximum(beyond, 0.0)


def discoveries(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Say which hypotheses are rejected so that at most a part `level` of these is expected to be wrong.

    Notes
    -----
    Benjamini & Hochberg (1995).
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= level * np.arange(1, len(p) + 1) / max(len(p), 1))
    rejected = np.zeros(len(p), bool)
    if len(below):
        rejected[order[: below[-1] + 1]] = True
    return [bool(one) for one in rejected]


def _numbers(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64).ravel()


def _used(counts: Floats) -> Floats:
    return np.asarray(np.maximum((counts > 0).sum(axis=-1), 1), np.float64)


def _shares(counts: ArrayLike) -> Floats:
    filled = np.asarray(counts, np.float64) + 0.5
    return np.asarray(filled / filled.sum(axis=-1, keepdims=True))

"""How much each feature counts for a model, as archives state it, and whether that is so of the next version too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archives.archive import Archive


def importances(archive: Archive) -> dict[str, float]:
    """Return how much each feature counts, where the archive states it (as ``importance``)."""
    for member in ("family.json", "provenance.json"):
        if member in archive.members:
            said = archive.json(member).get("importance")
            if isinstance(said, Mapping):
                return {str(name): float(value) for name, value in said.items()}
    return {}


def stability(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return Spearman's rank correlation of two versions' importances over the features that both have.

    None where fewer than three are in both, or all count alike in one.
    """
    names = sorted(one.keys() & other.keys())
    if len(names) < 3:
        return None
    ranks = [_ranks(np.array([given[name] for name in names])) for given in (one, other)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def moved(one: Mapping[str, float], other: Mapping[str, float], most: int = 3) -> list[str]:
    """Return the features whose rank changed most, with both ranks, such as ``age 9 to 2``; 1 counts most."""
    names = sorted(one.keys() & other.keys())
    if not names:
        return []
    before, after = (1 + len(names) - _ranks(np.array([given[name] for name in names])) for given in (one, other))
    order = np.argsort(-np.abs(after - before), kind="stable")[:most].tolist()
    return [f"{names[at]} {before[at]:g} to {after[at]:g}" for at in order if before[at] != after[at]]


def _ranks(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ranks; equal values share the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    means: np.ndarray[Any, np.dtype[np.float64]] = (ends - (sizes - 1) / 2.0)[group]
    return means

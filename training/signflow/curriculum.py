"""Curriculum learning: easy clips first, then harder and harder ones (Bengio et al., 2009).

What is easy is measured by `by_length` (short clips) or by `by_confidence` (clips that a network trained briefly
knows).
How fast the harder ones come is Platanios et al.'s (2019) square-root competence: at every moment of the first part of
the training clips are drawn evenly from the easiest share c of them,

    c(t) = min(1, sqrt(t (1 - c0²) + c0²)),    t from 0 to 1,

and in the second part all clips are shown as usual. An epoch shows as many clips as without a curriculum.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from training.data.splits import Indices
from training.signflow.clips import Clips
from training.signflow.fit import USUAL, Recipe, Technique, fit, probabilities, usual_order

CURRICULA: Final = ("length", "confidence")
BRIEFLY: Final = 0.2
"""Share of the epochs that the network whose confidence is asked is trained for."""


@dataclass(frozen=True)
class Pace:
    """How fast harder clips come.

    Attributes
    ----------
    start
        Share of the clips, the easiest, that training begins with: c0.
    until
        Share of the epochs after which all clips are shown.
    """

    start: float = 0.2
    until: float = 0.5


def competence(progress: npt.NDArray[np.float64], pace: Pace) -> npt.NDArray[np.float64]:
    """Return the easiest share of the clips that is drawn from, at moments between 0 and 1 of the whole training."""
    t = progress / pace.until
    return np.minimum(1.0, np.sqrt(t * (1 - pace.start**2) + pace.start**2))


def by_length(clips: Clips) -> npt.NDArray[np.float64]:
    """Return how hard each clip is, float64 [N]: its number of frames."""
    return clips.lengths.astype(np.float64)


def by_confidence(clips: Clips, recipe: Recipe, epochs: int, device: str = "cpu") -> npt.NDArray[np.float64]:
    """Return how hard each clip is, float64 [N]: how little a network trained on all of them believes in its sign.

    The self-taught score of Hacohen & Weinshall (2019), but of a network of the same kind trained only briefly. It
    costs its epochs, and one more pass over the clips without gradients.

    Parameters
    ----------
    clips
        To be ordered.
    recipe
        How the network is trained, but for the epochs.
    epochs
        For how long.
    device
        "cpu" or "cuda".
    """
    brief = replace(recipe, schedule=replace(recipe.schedule, epochs=epochs, patience=0))
    model, _ = fit(clips, None, brief, device=device)
    believed = probabilities(model, clips.sequences)[np.arange(len(clips)), clips.labels]
    return 1.0 - believed.astype(np.float64)


def easy_first(
    difficulty: npt.NDArray[np.float64], name: str, seed: int, technique: Technique = USUAL, pace: Pace | None = None
) -> Technique:
    """Return a technique that also shows clips in the order of their difficulty.

    Parameters
    ----------
    difficulty
        float64 [N], of the very clips that are fitted.
    name
        Of the curriculum; a checkpoint of another one is not gone on with.
    seed
        Orders clips of equal difficulty, as most recorded clips of equal length are.
    technique
        What else is done differently from usual.
    pace
        How fast harder clips come; `Pace()` where not given.
    """
    pace = pace or Pace()
    ties = np.random.default_rng(seed).permutation(len(difficulty))
    ranked = np.lexsort((ties, difficulty))

    def order(clips: Clips, recipe: Recipe, number: int, rng: np.random.Generator) -> Indices:
        if len(clips) != len(ranked):
            raise ValueError(f"expected the {len(ranked)} clips whose difficulty is known, got {len(clips)}")
        if number >= recipe.schedule.epochs * pace.until:
            return usual_order(clips, recipe, number, rng)
        progress = (number + np.arange(len(clips)) / len(clips)) / recipe.schedule.epochs
        open_to = np.ceil(competence(progress, pace) * len(clips))
        chosen: Indices = ranked[(rng.random(len(clips)) * open_to).astype(np.int64)]
        return chosen

    return replace(technique, order=order, identity={**technique.identity, "curriculum": name, **asdict(pace)})


def curriculum(name: str, clips: Clips, recipe: Recipe, technique: Technique = USUAL, device: str = "cpu") -> Technique:
    """Return a technique that also has a curriculum, by its name: "length" or "confidence".

    Raises
    ------
    ValueError
        If there is no such curriculum.
    """
    if name == "length":
        difficulty = by_length(clips)
    elif name == "confidence":
        difficulty = by_confidence(clips, recipe, math.ceil(BRIEFLY * recipe.schedule.epochs), device)
    else:
        raise ValueError(f"expected a curriculum among {', '.join(CURRICULA)}, got {name!r}")
    return easy_first(difficulty, name, recipe.schedule.seed, technique)

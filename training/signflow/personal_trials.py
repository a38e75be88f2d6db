"""People who teach a few takes, simulated: each signer in turn shows some clips, and is asked others.

From clips that a fit has not seen it is found what personal calibration (`models.signflow.personal`) does, and which
threshold and temperature suit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.signflow.embedding_space import EmbeddingSpace, Vectors
from models.signflow.personal import Prototypes, moved_centroids, personalise
from training.data.splits import Indices, Names

MOST_LOST: Final = 0.02
"""Share of the clips of signs without a take that may be lost to those with one."""

ROUNDS: Final = 10
"""How often each signer teaches, other clips each time."""

THRESHOLDS: Final = np.linspace(-1, 0.5, 151)
TEMPERATURES: Final = np.geomspace(0.02, 1.0, 10)


@dataclass(frozen=True)
class Unseen:
    """Clips and what a fit that has not seen their signers makes of them.

    Attributes
    ----------
    embeddings, probabilities
        [N, D] and [N, signs].
    labels, signers
        int64 [N] and str [N].
    space
        Of the fit's embeddings, from the clips that it was fitted to.
    """

    embeddings: npt.NDArray[np.floating[Any]]
    probabilities: npt.NDArray[np.floating[Any]]
    labels: Indices
    signers: Names
    space: EmbeddingSpace

    @property
    def directions(self) -> Vectors:
        """The embeddings as seen from the mean."""
        return self.space.directions(self.embeddings)


@dataclass(frozen=True)
class Trial:
    """What one signer teaches, and is asked then.

    Attributes
    ----------
    takes
        By sign, the clips shown, as positions among the clips.
    asked
        Other clips of the signer.
    """

    takes: dict[int, Indices]
    asked: Indices

    def taught(self, labels: Indices) -> npt.NDArray[np.bool_]:
        """Return of which of the asked clips the sign was taught."""
        return np.isin(labels[self.asked], list(self.takes))


@dataclass(frozen=True)
class Answers:
    """Of the asked clips: whether their sign was taught, whether they are right without takes and with, and whose."""

    taught: npt.NDArray[np.bool_]
    before: npt.NDArray[np.bool_]
    after: npt.NDArray[np.bool_]
    signers: Names


def trials(unseen: Unseen, takes: int, share: float, rounds: int = ROUNDS, seed: int = 0) -> Iterator[Trial]:
    """Yield trials of every signer who has signs with more clips than are taught.

    Parameters
    ----------
    unseen
        Whose labels and signers count.
    takes
        Clips shown of each taught sign.
    share
        Share of the signer's signs that is taught; below 1, at least one is and one is not.
    rounds, seed
        How often each signer teaches, and what chooses the clips.
    """
    rng = np.random.default_rng(seed)
    for signer in np.unique(unseen.signers).tolist():
        own = np.flatnonzero(unseen.signers == signer)
        clips = {sign: own[unseen.labels[own] == sign] for sign in np.unique(unseen.labels[own]).tolist()}
        clips = {sign: mine for sign, mine in clips.items() if len(mine) > takes}
        if not clips or (share < 1 and len(clips) < 2):
            continue
        count = len(clips) if share == 1 else int(np.clip(round(share * len(clips)), 1, len(clips) - 1))
        for _ in range(rounds):
            chosen = rng.permutation(list(clips))[:count].tolist()
            shown = {sign: rng.permutation(clips[sign])[:takes] for sign in chosen}
            yield Trial(shown, np.setdiff1d(np.concatenate(list(clips.values())), np.concatenate(list(shown.values()))))


def answer(unseen: Unseen, trial: Trial, space: EmbeddingSpace) -> npt.NDArray[np.float64]:
    """Return the probabilities of a trial's asked clips, [asked, signs], with the takes that it shows."""
    own = Prototypes.of({sign: unseen.embeddings[shown] for sign, shown in trial.takes.items()}, space)
    return personalise(unseen.probabilities[trial.asked], space.directions(unseen.embeddings[trial.asked]), own, space)


def try_out(unseen: Unseen, takes: int, share: float, space: EmbeddingSpace) -> Answers:
    """Return what all signers' asked clips are answered; threshold and temperature are the given space's."""
    parts = []
    for trial in trials(unseen, takes, share):
        labels = unseen.labels[trial.asked]
        before = unseen.probabilities[trial.asked].argmax(1) == labels
        after = answer(unseen, trial, space).argmax(1) == labels
        parts.append((trial.taught(unseen.labels), before, after, unseen.signers[trial.asked]))
    if not parts:
        none = np.zeros(0, bool)
        return Answers(none, none, none, none.astype(str))
    return Answers(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def choose(found: Sequence[Unseen]) -> tuple[float, float]:
    """Return the threshold and the temperature for signers that a fit has not seen.

    Each signer in turn teaches one take of half of the signs, and none of the others. For each temperature, the
    threshold is the lowest at which at most `MOST_LOST` of the clips of the others are lost: below it more of these
    are, above it fewer of the taught ones are recognised. Of such pairs the one is chosen with which most clips are
    recognised.

    Parameters
    ----------
    found
        Clips with what a fit makes of them; several where several fits each have their own unseen signers.

    Returns
    -------
    threshold, temperature
        Those of the spaces given, where no signer has two signs with two clips.
    """
    space = found[0].space
    tried = [(unseen, trial) for unseen in found for trial in trials(unseen, takes=1, share=0.5)]
    if not tried:
        return space.threshold, space.temperature

    def count_right(pair: tuple[float, float]) -> int:
        right = 0
        for unseen, trial in tried:
            said = answer(unseen, trial, replace(unseen.space, threshold=pair[0], temperature=pair[1]))
            right += int((said.argmax(1) == unseen.labels[trial.asked]).sum())
        return right

    return max(((_find_threshold(tried, one), one) for one in TEMPERATURES.tolist()), key=count_right)


def _find_threshold(tried: Sequence[tuple[Unseen, Trial]], temperature: float) -> float:
    """Return the lowest of the thresholds at which few enough clips of untaught signs are lost, else the highest."""
    lost, asked = np.zeros(len(THRESHOLDS)), 0
    for unseen, trial in tried:
        clips = trial.asked[~trial.taught(unseen.labels)]
        labels = unseen.labels[clips]
        own = Prototypes.of({sign: unseen.embeddings[shown] for sign, shown in trial.takes.items()}, unseen.space)
        odds = np.log(np.maximum(unseen.probabilities[clips], 1e-12)).astype(np.float64)
        before = odds.argmax(1) == labels
        rows, directions = np.arange(len(clips)), unseen.space.directions(unseen.embeddings[clips])
        taught = odds[:, own.signs] + directions @ own.directions.T / temperature
        odds += directions @ moved_centroids(own, unseen.space).T / temperature
        odds[:, own.signs] = -np.inf
        needed = temperature * (taught.max(1) - odds[rows, labels])  # the threshold at which the true sign is ahead
        kept = (odds.argmax(1) == labels)[:, None] & (needed[:, None] <= THRESHOLDS)
        lost, asked = lost + before.sum() - kept.sum(0), asked + len(clips)
    few = np.flatnonzero(lost / asked <= MOST_LOST)
    return float(THRESHOLDS[few[0] if len(few) else -1])

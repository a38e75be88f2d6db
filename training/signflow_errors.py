"""Where a network errs on people it has not seen: by sign, by person, by anything recorded, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, RIGHT_HAND
from models.signflow.sequences import Frames
from training.data.signflow_clips import Clips
from training.data.splits import Names

SHOWN = 12


@dataclass(frozen=True)
class Judged:
    """Test clips of all folds together.

    Attributes
    ----------
    clips
        In the order of the data.
    probabilities
        What the network that has not seen a clip's signer thinks of it, float [N, signs].
    """

    clips: Clips
    probabilities: npt.NDArray[np.float32]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable sign of each clip, int64 [N]."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether that is the clip's, bool [N]."""
        return np.asarray(self.predicted == self.clips.labels)


def hands_seen(sequences: Sequence[Frames]) -> Names:
    """Return a word for each clip: in what share of its frames the hand that is seen more often is seen."""
    words = []
    for frames in sequences:
        points = np.nan_to_num(frames.reshape(-1, LANDMARKS, AXES))
        most = max(float((points[:, hand] != 0).any((1, 2)).mean()) for hand in (LEFT_HAND, RIGHT_HAND))
        words.append("under half" if most < 0.5 else "half to 0.9" if most < 0.9 else "0.9 and more")
    return np.array(words)


def by(judged: Judged, name: str, values: Names) -> str:
    """Return a table in Markdown: clips and accuracy of each value, the most frequent values only."""
    lines = [f"| {name} | clips | accuracy |", "|---|---|---|"]
    for value, count in Counter(values.tolist()).most_common(SHOWN):
        lines.append(f"| {value} | {count} | {judged.right[values == value].mean():.2f} |")
    return "\n".join(lines)


def confusions(judged: Judged) -> str:
    """Return a table in Markdown of what is most often taken for what."""
    signs, wrong = judged.clips.signs, ~judged.right
    taken = zip(judged.clips.labels[wrong].tolist(), judged.predicted[wrong].tolist(), strict=True)
    lines = ["| sign | taken for | clips | of the sign's |", "|---|---|---|---|"]
    for (true, said), count in Counter(taken).most_common(SHOWN):
        lines.append(f"| {signs[true]} | {signs[said]} | {count} | {(judged.clips.labels == true).sum()} |")
    return "\n".join(lines)


def concentration(judged: Judged) -> Mapping[str, float]:
    """Say whether errors are a matter of takes or of people.

    Returns
    -------
    dict of str to float
        Of all errors, the share in a person's signs of which no take is right (more takes than one), and the share
        made by the quarter of people with the lowest accuracy; of people, the share with an accuracy of 0.9 or more.
    """
    clips, wrong = judged.clips, ~judged.right
    cells = np.unique(
        np.stack([np.unique(clips.signers, return_inverse=True)[1], clips.labels]), axis=1, return_inverse=True
    )[1]
    takes, missed = np.bincount(cells), np.bincount(cells, weights=wrong)
    _, who = np.unique(clips.signers, return_inverse=True)
    accuracy = 1 - np.bincount(who, weights=wrong) / np.bincount(who)
    worst = np.argsort(accuracy, kind="stable")[: max(1, len(accuracy) // 4)]
    return {
        "errors where a person's every take of a sign is wrong": float(
            missed[(takes > 1) & (missed == takes)].sum() / wrong.sum()
        ),
        "errors by the worst quarter of people": float(wrong[np.isin(who, worst)].sum() / wrong.sum()),
        "people with accuracy 0.9 or more": float((accuracy >= 0.9).mean()),
    }

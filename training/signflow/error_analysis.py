"""Where a network errs on people it has not seen: by sign, by person, by anything recorded, and how.

    python scripts/experiment.py architectures --data recordings/common_signs.npz --seeds 0 1 2 3
    python -m training.signflow.error_analysis --data recordings/common_signs.npz --sizes large --field lang

Every clip is judged by the network, of those the experiment `architectures` kept, that has not seen its signer. With
several sizes their probabilities are averaged.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marina.settings import read_settings
from models.signflow.landmarks import AXES, LANDMARKS, LEFT_HAND, RIGHT_HAND
from models.signflow.sequences import Frames
from training.data.splits import Names
from training.signflow.clips import Clips
from training.signflow.experiments import architectures, harness
from training.signflow.fit import probabilities

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


def main(argv: list[str] | None = None) -> int:
    """Print accuracy by sign, hand, length and a field of the data, and the confusions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="PATH", help="an .npz file of recorded sequences")
    parser.add_argument("--field", help="also by this array of the file, such as lang")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="folds (default: 0 1 2 3)")
    parser.add_argument("--out", type=Path, default=read_settings().state_dir / "experiments", help="of the experiment")
    architectures.add_arguments(parser)
    parser.set_defaults(sizes=["large"])
    options = parser.parse_args(argv)
    data = harness.load(options.data)
    answers = np.zeros((len(data.clips), len(data.clips.signs)), np.float32)
    tested = np.zeros(len(data.clips), bool)
    for seed in options.seeds:
        train, test = data.unseen(seed)
        aside = np.isin(data.clips.signers, test.signers)
        for size in options.sizes:
            how = harness.recipe(data, train, seed, options.shown, size)
            network = harness.trained(data, seed, how, options.out / "weights")
            answers[aside] += probabilities(network, test.sequences) / len(options.sizes)
        tested |= aside
    judged = Judged(data.clips.select(np.flatnonzero(tested)), answers[tested])
    clips = judged.clips
    print(f"{' and '.join(options.sizes)} on {data.name}: {len(clips)} clips, accuracy {judged.right.mean():.3f}\n")
    print("\n".join(f"{share:.2f} of {what}" for what, share in concentration(judged).items()), "\n")
    fields = {"sign": np.array(clips.signs)[clips.labels], "hand seen in": hands_seen(clips.sequences)}
    if options.field:
        with np.load(options.data, allow_pickle=False) as file:
            values = file[options.field].astype(str)
        if len(values) != len(data.clips):
            print(f"{options.field} has {len(values)} values, but {len(data.clips)} clips are sound", file=sys.stderr)
            return 1
        fields[options.field] = values[tested]
    fields |= {
        "frames": np.array([f"{frames // 10 * 10} to {frames // 10 * 10 + 9}" for frames in clips.lengths.tolist()])
    }
    print("\n\n".join(by(judged, name, values) for name, values in fields.items()))
    print(f"\n{confusions(judged)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

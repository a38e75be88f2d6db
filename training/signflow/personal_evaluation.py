"""What a few takes of one's own gain, on recorded signers that a network has not seen.

    python -m training.signflow.personal_evaluation --data recordings/common_signs.npz
    python -m training.signflow.personal_evaluation --data recordings/common_signs.npz --folds 4 --only 0 1

Folds of whole signers, as in cross-validation. A tested signer teaches 1, 2 or 3 clips of each sign that has more,
drawn ten times, and is asked the other clips; then 1 clip of each of half of the signs. Threshold and temperature are
chosen on the signers of the other folds, or, where one fold is done alone, on the other half of its signers. The second
table says how many of the sequences of unseen signers, and of those of other files, are called unusual.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.signflow.embedding_space import UNUSUAL, EmbeddingSpace, Vectors
from models.signflow.network import SIZES
from training.data import splits
from training.evaluation.labelled import intervals
from training.signflow import embedding_space, recorded
from training.signflow.clips import Clips
from training.signflow.fit import RECORDED, fit, recipe_for
from training.signflow.personal_trials import Answers, Unseen, choose, try_out

TAKES = (1, 2, 3)
HALF = 0.5


def look_at_folds(
    clips: Clips,
    size: str,
    folds: int,
    console: Console,
    only: Sequence[int] = (),
    others: Sequence[Clips] = (),
) -> Iterator[tuple[Unseen, list[Vectors]]]:
    """Fit a network per fold, and yield what it makes of the fold's signers, and the directions of other clips."""
    for number, (train, test) in enumerate(splits.folds(clips.signers, folds)):
        if only and number not in only:
            continue
        fitting = clips.select(train)
        network, _ = fit(fitting, None, recipe_for(fitting, size))
        space = embedding_space.space_of(network, fitting)
        found = embedding_space.look_at(network, space, clips.select(test))
        right = float((found.probabilities.argmax(1) == found.labels).mean())
        console.print(f"fold {number + 1}/{folds}: {len(test)} clips, accuracy {right:.3f}", highlight=False)
        yield found, [space.directions(embedding_space.embed(network, other.sequences)) for other in others]


def with_choice(found: Sequence[Unseen]) -> list[Unseen]:
    """Return the clips of each fold with the threshold and temperature that signers of the others chose."""
    if len(found) == 1:
        found = [_select(found[0], part) for part in splits.holdout(found[0].signers, HALF)]
    chosen = []
    for number, unseen in enumerate(found):
        threshold, temperature = choose([other for at, other in enumerate(found) if at != number])
        chosen.append(replace(unseen, space=replace(unseen.space, threshold=threshold, temperature=temperature)))
    return chosen


def _select(unseen: Unseen, rows: splits.Indices) -> Unseen:
    return Unseen(
        unseen.embeddings[rows], unseen.probabilities[rows], unseen.labels[rows], unseen.signers[rows], unseen.space
    )


def tabulate(found: Sequence[Unseen]) -> str:
    """Return what takes gain, as a table in Markdown: accuracy over all asked clips.

    The gain has its 95 % interval over signers, where there are enough of them. "Taught signs only" is the nearest
    take, whatever the network thinks of signs without one.
    """
    thresholds = ", ".join(f"{unseen.space.threshold:.2f} at {unseen.space.temperature:.2f}" for unseen in found)
    lines = [
        f"Thresholds and temperatures, by the part that was tested: {thresholds}.",
        "",
        "| taught | asked | answers | without takes | with | gain | taught signs only |",
        "|---|---|---|---|---|---|---|",
        *(_row(f"all signs, {takes} each", "other takes", found, takes, 1, lambda one: one.taught) for takes in TAKES),
        _row("half of the signs, 1 each", "other takes of these", found, 1, HALF, lambda one: one.taught),
        _row("half of the signs, 1 each", "signs without a take", found, 1, HALF, lambda one: ~one.taught),
    ]
    return "\n".join(lines)


def _row(
    taught: str,
    asked: str,
    found: Sequence[Unseen],
    takes: int,
    share: float,
    of: Callable[[Answers], npt.NDArray[np.bool_]],
) -> str:
    rows, signers = [], []
    for unseen in found:
        answers = try_out(unseen, takes, share, unseen.space)
        nearest = try_out(unseen, takes, share, replace(unseen.space, threshold=-1e3, temperature=1e-3))
        rows.append(np.stack([answers.before, answers.after, nearest.after])[:, of(answers)])
        signers.append(answers.signers[of(answers)])
    right = np.concatenate(rows, axis=1).astype(np.float64)
    before, after, only = right.mean(1)
    _, low, high = intervals(
        lambda columns: {"gain": float(columns["gain"].mean())},
        {"gain": right[1] - right[0]},
        np.concatenate(signers),
    )["gain"]
    gain = f"{after - before:+.3f}" + (f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else "")
    return f"| {taught} | {asked} | {right.shape[1]:,} | {before:.3f} | {after:.3f} | {gain} | {only:.3f} |"


def count_teachers(found: Sequence[Unseen]) -> str:
    """Return how many (signer, sign) pairs there are to teach, and of how many clips."""
    pairs = [
        int(count)
        for unseen in found
        for signer in np.unique(unseen.signers)
        for count in np.unique(unseen.labels[unseen.signers == signer], return_counts=True)[1]
    ]
    enough = [count for count in pairs if count > max(TAKES)]
    signers = sum(len(np.unique(unseen.signers)) for unseen in found)
    how_many = f", {min(enough)} to {max(enough)}" if enough else ""
    return (
        f"{len(enough)} of {len(pairs)} pairs of signer and sign have more than {max(TAKES)} clips{how_many}; "
        f"{signers} signers, {sum(enough):,} clips"
    )


def count_unusual(space: EmbeddingSpace, unseen: Unseen, others: Sequence[Vectors], seed: int = 0) -> list[float]:
    """Return the shares called unusual: of clips of unseen signers beside others of the like, then of other clips."""
    shares = []
    for reference, asked in [
        splits.holdout(unseen.signers, HALF, seed),
        splits.holdout(unseen.signers, HALF, seed)[::-1],
    ]:
        directions = unseen.directions
        beside = replace(space, reference=np.sort(space.distances(directions[reference])))
        shares.append([float((beside.p_values(one) < UNUSUAL).mean()) for one in (directions[asked], *others)])
    return [float(share) for share in np.mean(shares, axis=0)]


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate on the file that the command line names, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz file of recorded sequences")
    parser.add_argument("--folds", type=int, default=4, help="folds of whole signers (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="*", default=[], metavar="FOLD", help="do these folds only, from 0")
    parser.add_argument("--size", default=RECORDED.size, choices=SIZES, help="network size (default: %(default)s)")
    parser.add_argument("--others", type=Path, nargs="*", default=[], metavar="FILE", help="files of other signs")
    options = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    clips, _ = recorded.read(options.data)
    pairs = np.stack([clips.signers, clips.labels.astype(str)])
    if np.unique(pairs, axis=1, return_counts=True)[1].max() <= max(TAKES):
        parser.error(f"{options.data}: expected signers with more than {max(TAKES)} clips of a sign, to teach and ask")
    others = [recorded.read(file)[0] for file in options.others]
    folds = list(look_at_folds(clips, options.size, options.folds, console, options.only, others))
    report([unseen for unseen, _ in folds], [more for _, more in folds], options.others, console)
    return 0


def report(found: Sequence[Unseen], others: Sequence[list[Vectors]], files: Sequence[Path], console: Console) -> None:
    """Print both tables."""
    console.print(count_teachers(found), highlight=False)
    console.print(tabulate(with_choice(found)), highlight=False, markup=False)
    shares = [count_unusual(unseen.space, unseen, more) for unseen, more in zip(found, others, strict=True)]
    console.print(f"\n| sequences | share with p < {UNUSUAL:g} |\n|---|---|", highlight=False)
    for name, share in zip(["of unseen signers", *(file.stem for file in files)], np.mean(shares, axis=0), strict=True):
        console.print(f"| {name} | {share:.3f} |", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())

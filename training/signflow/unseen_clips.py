"""Clips to ask SignFlow archives: of signers that none of them has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from rich.console import Console

from archives.certificate import Arrays
from models.signflow.excerpt import excerpt
from models.signflow.sequences import pad
from training.evaluation.archive_evaluation import Questions
from training.signflow.recipe import TrainOptions, load, set_aside
from training.signflow.synthetic.signing import Synthesis


def unseen_inputs(data: str, signs: Sequence[Sequence[str]], origins: Sequence[Mapping[str, Any]]) -> Questions:
    """Return what may be asked.

    Generated clips are of signers that no archive has seen. Of recorded ones, an archive that was trained on the very
    data without a refit is asked about the signers that its training set aside, and one with a refit about none. One
    that was trained on a part of it, or on more, cannot be distinguished from one that has seen none of it: it is asked
    about all. All are shown what archives are shown today, excerpts; one from before there were any has learned from
    whole sequences.

    Parameters
    ----------
    data
        "synthetic" for generated ones, or the path of recorded sequences.
    signs
        Those of each archive.
    origins
        The `provenance.json` of each archive.

    Raises
    ------
    ValueError
        If there is nothing that may be asked.
    """
    others = Synthesis(seed=1000 + max(int(origin["parameters"].get("schedule.seed", 0)) for origin in origins))
    chosen = []
    for known, origin in zip(signs, origins, strict=True):
        params = origin["parameters"]
        if params.get("labels"):
            raise ValueError(
                f"an archive was trained with annotators' labels ({params['labels']}), on which it depends whom it set "
                "aside; compare on recordings that were not part of its training, with scripts/compare_models.py"
            )
        options = TrainOptions(data=data, synthesis=others, signer=str(params.get("signer", "auto")))
        clips, used = load(options, Console(quiet=True))
        names = np.array(clips.signs)[clips.labels]
        allowed = np.flatnonzero(np.isin(names, known))
        if origin["data_manifest_sha256"] == used.sha256:
            if origin.get("fits", {}).get("refitted", False):
                raise ValueError(
                    f"an archive has learned from all of {data}: compare on recordings made since, or archives that "
                    "were trained with --no-refit"
                )
            allowed = np.intersect1d(allowed, set_aside(clips, params["schedule.seed"])[1])
        chosen.append(allowed)
    both = reduce(np.intersect1d, chosen)
    if not len(both):
        raise ValueError(
            f"{data} has no clip of a sign that every archive knows and of a signer that none has learned from; "
            "compare archives that were trained on the same data with the same seed"
        )
    asked = clips.select(both)
    batches = [pad([excerpt(frames)]) for frames in asked.sequences]
    inputs: list[Arrays] = [{"landmarks": landmarks, "lengths": lengths} for landmarks, lengths in batches]
    signers = len(set(asked.signers.tolist()))
    described = f"{data}: {len(both)} clips of {signers} signers that none trained on this very data has seen"
    return Questions(inputs, tuple(names[both].tolist()), described)

"""Clips to ask SignFlow archives: of signers that none of them has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from rich.console import Console

from archives.certificate import Arrays
from models.signflow.sequences import pad
from training.answers import Questions
from training.signflow import SYNTHETIC, TrainOptions, load, set_aside


def questions(data: str, signs: Sequence[Sequence[str]], origins: Sequence[Mapping[str, Any]]) -> Questions:
    """Return what may be asked.

    An archive that was trained on the very data is asked about the signers that its training set aside. One that was
    trained on a part of it, or on more, cannot be told from one that has met none of it: it is asked about all.

    Parameters
    ----------
    data
        "synthetic", or the path of recorded sequences.
    signs
        Those of each archive.
    origins
        The `provenance.json` of each archive.

    Raises
    ------
    ValueError
        If there is nothing that may be asked.
    """
    chosen = []
    for known, origin in zip(signs, origins, strict=True):
        params = origin["parameters"]
        if params.get("labels"):
            raise ValueError(
                f"an archive was trained with annotators' labels ({params['labels']}), on which it depends whom it set "
                "aside; ask it about recordings that had no part in its training, with scripts/compare_models.py"
            )
        clips, used = load(TrainOptions(data=data, signer=str(params.get("signer", "auto"))), Console(quiet=True))
        names = np.array(clips.signs)[clips.labels]
        allowed = np.flatnonzero(np.isin(names, known))
        if origin["data_manifest_sha256"] == used.sha256:
            allowed = np.intersect1d(allowed, set_aside(clips, params["schedule.seed"])[1])
        elif data == SYNTHETIC == params.get("data"):
            raise ValueError(
                "an archive was trained on generated clips made with other options than the usual ones, and may know "
                "these signers; compare archives that were trained with the usual options"
            )
        chosen.append(allowed)
    both = reduce(np.intersect1d, chosen)
    if not len(both):
        raise ValueError(
            f"{data} has no clip of a sign that every archive knows and of a signer that none has learned from; "
            "compare archives that were trained on the same data with the same seed"
        )
    asked = clips.select(both)
    batches = [pad([frames]) for frames in asked.sequences]
    inputs: list[Arrays] = [{"landmarks": landmarks, "lengths": lengths} for landmarks, lengths in batches]
    signers = len(set(asked.signers.tolist()))
    described = f"{data}: {len(both)} clips of {signers} signers that none trained on this very data has seen"
    return Questions(inputs, tuple(names[both].tolist()), described)

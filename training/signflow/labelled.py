"""Recorded clips to ask a SignFlow archive about, of signers that its training did not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from archives.contract import Contract
from training.data.loading import load_recorded
from training.data.manifest import Manifest
from training.data.reading.style import Style
from training.evaluation.labelled import Labelled, known, of_classes
from training.signflow import recorded


def labelled(path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
    """Read an ``.npz`` file, or a folder of them; clips of signs that the archive does not know are left out.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing sound is there.
    training.evaluation.labelled.LabelledError
        If the archive knows none of the signs.
    FileNotFoundError
        If there is no file.
    """
    clips, used = load_recorded(path, recorded.read, recorded.files, console)
    asked = clips.select(known(np.array(clips.signs)[clips.labels], contract, "sign"))
    described = f"{len(asked):,} of {len(clips):,} clips, those of signs that it knows"
    names = np.array(asked.signs)[asked.labels]
    return of_classes(asked.sequences, names, asked.signers, contract, described, "signer"), used

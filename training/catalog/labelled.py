"""Recorded products to ask a catalogue archive about, of families that its training did not see."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from archives.contract import Contract
from models.catalog.cleaning import cleaned, whole
from training.catalog import recorded
from training.catalog.fit import families
from training.catalog.recipe import products_of
from training.data.loading import load_recorded
from training.data.manifest import Manifest
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.evaluation.labelled import Labelled, known, of_classes


def labelled(path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
    """Read a table of products, or a folder of them; those of codes that the archive does not know are left out.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing sound is there.
    training.evaluation.labelled.LabelledError
        If the archive knows none of the codes.
    FileNotFoundError
        If there is no file.
    """
    reader = TableReader(style)
    frame, used = load_recorded(path, partial(recorded.read, reader=reader), recorded.files, console, reader)
    asked = frame.iloc[known(frame["code"].to_numpy().astype(str), contract, "code")]
    products = products_of(asked)
    groups = families([whole(one) for one in products], [cleaned(one.description or "") for one in products])
    requests = [{"designation": one.designation, "description": one.description} for one in products]
    described = f"{len(asked):,} of {len(frame):,} products, those of codes that it knows"
    names = asked["code"].to_numpy().astype(str)
    return of_classes(requests, names, groups, contract, described, "family of near-duplicates"), used

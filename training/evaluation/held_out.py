"""Two archives of one model asked the same recorded rows: what each row cost the one and the other.

Rows, answers and losses are those of the family's `labelled.py`; the test on them is the platform's.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.archive import Archive
from archives.contract import write_contract
from handlers.errors import RequestError
from marina.pipelines.decision import HeldOut
from marina.pipelines.paired_test import compare
from training.data.manifest import Manifest
from training.data.reading.style import Style
from training.evaluation.labelled import Labelled, LabelledError, ask, handler_of
from training.evaluation.slices import LEAST
from training.family import families, labelling

MOST_SLICES: Final = 100
"""Groups beyond the largest so many are no slices of their own."""


class RecordedRows:
    """Held-out rows in a file or a folder.

    Parameters
    ----------
    path
        Where they are.
    style
        What decides where a column can be read in two ways.
    console
        Where it is shown how they are read.
    candidate
        The archive that is to be promoted, whose family reads them.
    """

    def __init__(self, path: Path, style: Style, console: Console, candidate: Archive) -> None:
        self._path, self._style, self._console = path, style, console
        self._kept: dict[bytes, tuple[Labelled, Manifest]] = {}
        self.sha256 = self._read(candidate)[1].sha256
        """Hash of their manifest."""

    def check(self, champion: Archive, candidate: Archive) -> None:
        """Make sure that both can be asked the same.

        Raises
        ------
        LabelledError
            If their labels differ, or one was trained on these rows.
        """
        if sorted(champion.contract.labels) != sorted(candidate.contract.labels):
            raise LabelledError(
                f"{champion.name} and {candidate.name} know different labels, so no row asks both the same: release "
                "it by scripts/deploy_canary.py, which compares on users' requests"
            )
        for archive in (champion, candidate):
            if archive.json("provenance.json").get("data_manifest_sha256") == self._read(archive)[1].sha256:
                raise LabelledError(f"{archive.name} was trained on {self._path} as it is: name rows it did not see")

    def ask(self, champion: Archive, candidate: Archive) -> HeldOut:
        """Ask both archives, and compare what their answers cost.

        Raises
        ------
        LabelledError
            If no row was answered by both.
        """
        asked = [(rows := self._read(one)[0], answers_of(one, rows)) for one in (champion, candidate)]
        return compare_answers(asked[0], asked[1])

    def _read(self, archive: Archive) -> tuple[Labelled, Manifest]:
        contract = archive.contract
        asked = write_contract(replace(contract, version="1.0"))  # two versions of one contract are asked the same
        if asked not in self._kept:
            if contract.family not in families("labelled"):
                raise LabelledError(f"{contract.family}: this family reads no labelled rows; it lacks a labelled.py")
            read = labelling(contract.family).labelled(self._path, contract, self._style, self._console)
            self._kept[asked] = read
        return self._kept[asked]


def answers_of(archive: Archive, rows: Labelled) -> list[Any]:
    """Return an archive's answer to each row, or in its place the error that a client would get."""
    with tempfile.TemporaryDirectory(prefix="marina-held-out-") as folder:
        archive.unpack(Path(folder))
        return ask(handler_of(archive, Path(folder)), rows.requests)


def compare_answers(before: tuple[Labelled, list[Any]], after: tuple[Labelled, list[Any]]) -> HeldOut:
    """Compare two archives' answers to the same rows.

    Raises
    ------
    LabelledError
        If no row was answered by both.
    """
    refused = [[isinstance(one, RequestError) for one in answers] for _, answers in (before, after)]
    both = [at for at, either in enumerate(zip(*refused, strict=True)) if not any(either)]
    if not both:
        raise LabelledError(f"none of {len(refused[0])} rows was answered by both")
    losses = []
    for rows, answers in (before, after):
        columns, groups = rows.judge(both, [answers[at] for at in both])
        losses.append(np.asarray(rows.loss(columns), np.float64))
    rows_alone = np.arange(len(groups)).astype(str)
    # Of one group there is nothing but its rows to tell chance from harm by.
    by = [("label", _names(columns["truth"], after[0].labels), groups), (after[0].grouped_by, groups, rows_alone)]
    slices = {
        f"{what} {name}": compare(losses[0][mine], losses[1][mine], units[mine])
        for what, of, units in by
        for name, mine in _slices(of)
    }
    return HeldOut(compare(losses[0], losses[1], groups), slices, sum(refused[0]), sum(refused[1]), after[0].unit)


def _names(truth: npt.NDArray[Any], labels: tuple[str, ...]) -> npt.NDArray[Any]:
    """Return the right label of each row; nothing where answers are no labels."""
    if not labels or truth.dtype.kind not in "iu":
        return np.zeros(0, "U1")
    return np.asarray(np.array(labels)[truth])


def _slices(of: npt.NDArray[Any]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    names, count = np.unique(of, return_counts=True)
    largest = sorted(zip(count.tolist(), names.tolist(), strict=True), reverse=True)[:MOST_SLICES]
    return [(str(name), np.flatnonzero(of == name)) for many, name in largest if many >= LEAST]

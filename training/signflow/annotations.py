"""Labels that annotators gave: read back from the files that asked for them.

A file is a table, ``.csv`` or ``.json`` (an array of objects), with at least the columns ``clip`` and ``label``; what
else it holds is for people. A row without a label is one without an answer yet.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.signflow.sequences import Frames
from training.data.quality import BadDataError, Fault, report

_NEEDED = {"clip", "label"}


@dataclass(frozen=True)
class Label:
    """The sign that a row gives a clip; rows are counted as a spreadsheet does, a header being the first."""

    sign: str
    file: str
    row: int

    def fault(self, kind: str, detail: str) -> Fault:
        """Return what is wrong with this row."""
        return Fault(self.file, None, kind, f"row {self.row}: {detail}")


class LabelsError(BadDataError):
    """Rows of annotators that cannot be meant as they stand."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        ValueError.__init__(self, f"{report(faults)}\nmend these rows, or empty their labels")


def clip_id(file: str, index: int, frames: Frames) -> str:
    """Return what a clip is called in a queue: its place, and a few letters of its content's SHA-256.

    A file that was changed since names its clips otherwise, so that a label never lands on another clip.
    """
    digest = hashlib.sha256(np.ascontiguousarray(frames, "<f4").tobytes()).hexdigest()
    return f"{file}[{index}]@{digest[:8]}"


def read(paths: Iterable[Path]) -> dict[str, Label]:
    """Read the labels of several files, by clip.

    Raises
    ------
    LabelsError
        If a file is no such table, or a clip is given two labels.
    FileNotFoundError
        If there is no such file.
    """
    found: dict[str, Label] = {}
    faults: list[Fault] = []
    for path in paths:
        for number, row in _rows(path):
            clip, sign = (str(row.get(name) or "").strip() for name in ("clip", "label"))
            if not sign:
                continue
            label = Label(sign, path.name, number)
            if (other := found.setdefault(clip, label)).sign != sign:
                faults.append(
                    label.fault(
                        "two labels", f"{clip} is {sign!r} here, {other.sign!r} in {other.file} row {other.row}"
                    )
                )
    if faults:
        raise LabelsError(faults)
    return found


def check(labels: Mapping[str, Label], clips: Collection[str], signs: Collection[str]) -> None:
    """Refuse labels of clips that are not there, and signs that no recording shows (if any shows one).

    Raises
    ------
    LabelsError
        With every such row.
    """
    faults = []
    for clip, label in labels.items():
        if clip not in clips:
            faults.append(label.fault("unknown clip", f"expected a clip of the data as it is now, got {clip!r}"))
        elif signs and label.sign not in signs:
            faults.append(label.fault("unknown sign", f"expected a sign that the data shows, got {label.sign!r}"))
    if faults:
        raise LabelsError(faults)


def _rows(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    try:
        if path.suffix == ".json":
            rows, first = json.loads(text), 1
            sound = isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= _NEEDED for row in rows)
        else:
            table = csv.DictReader(io.StringIO(text, newline=""))
            rows, first = list(table), 2
            sound = set(table.fieldnames or ()) >= _NEEDED
    except (csv.Error, ValueError) as error:
        raise LabelsError([Fault(path.name, None, "unreadable file", str(error))]) from error
    if sound:
        return list(enumerate(rows, first))
    detail = "expected a table with the columns clip and label, separated by commas, or an array of such objects"
    raise LabelsError([Fault(path.name, None, "no queue", detail)])

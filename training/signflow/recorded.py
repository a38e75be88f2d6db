"""Recorded sequences from ``.npz`` files.

A file holds many sequences back to back: ``Xq`` int16 [225, frames] in thousandths, or ``X`` float [frames, 225];
``len`` int [N], the frames of each; ``y`` str [N], the sign; and, where known, ``source``, ``group`` and ``seqid``
str [N], who and what was recorded. Read without pickle.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.ranges import Range
from models.signflow.landmarks import WIDTH
from models.signflow.plausibility import find_doubts, measure
from models.signflow.sequences import Frames
from training.data.quality import BadDataError, Fault, OnBad
from training.signflow.annotations import Label, check, clip_id
from training.signflow.clips import Clips

SIGNER_FIELDS: Final = ("source", "group", "seqid")
"""Fields that can distinguish signers, the broadest first."""

POSSIBLE: Final[dict[str, Range]] = {
    "coordinate": (None, 4.0),
    "shoulder_share": (0.5, None),
    "face_size": (None, 1.2),
    "hand_size": (None, 1.5),
    "wrist_gap": (None, 0.65),
    "wrist_swap": (None, 0.25),
    "hips_from_origin": (0.1, None),
    "hands_from_origin": (0.7, None),
}
"""What can be of a sequence, by the quantities of `models.signflow.plausibility`; the rest is left out here and refused
by the archive. Of 4,935 recorded sequences none is beyond."""

USUAL: Final[dict[str, Range]] = {
    "coordinate": (None, 1.5),
    "head_height": (0.1, None),
    "wrist_gap": (None, 0.45),
    "wrist_swap": (None, 0.05),
    "hips_from_origin": (0.3, None),
    "hands_from_origin": (1.5, None),
    "hand_share": (0.15, None),
    "still_share": (None, 0.5),
    "frames": (5.0, None),
}
"""What usually is; the archive answers the rest with a warning. Of 4,935 recorded sequences 54 are beyond."""

UNLABELLED: Final = frozenset({"", "?", "trans", "unlabelled"})
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_THOUSANDTHS = 1000


@dataclass
class _Rows:
    sequences: list[Frames] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    signers: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    labels: Mapping[str, Label] = field(default_factory=dict)
    clips: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)  # signs that the files themselves name


def files(path: Path) -> list[Path]:
    """Return the ``.npz`` files meant by a path: itself, or those directly in the folder, sorted.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if not found:
        raise FileNotFoundError(f"expected an .npz file or a folder of them, found none at {path}")
    return found


def read(
    path: Path,
    *,
    on_bad: OnBad = "skip",
    signs: Collection[str] | None = None,
    signer: str = "auto",
    labels: Mapping[str, Label] | None = None,
) -> tuple[Clips, tuple[Fault, ...]]:
    """Read labelled clips from a file or a folder.

    Parameters
    ----------
    path
        An ``.npz`` file, or a folder of them; the signs of several labelled files are kept apart as ``file:sign``.
    on_bad
        Whether to leave bad data out or to refuse all of it.
    signs
        The signs known, if only these are allowed; others are faults.
    signer
        The field that distinguishes signers; "auto" takes, per file, the broadest under which signs still recur,
        and of a file without labels the broadest.
    labels
        What annotators say of clips (`training.signflow.annotations.read`), the signs by the names of `Clips.signs`;
        it goes before what the file says.

    Returns
    -------
    clips : Clips
        What is sound.
    faults : tuple of Fault
        What was left out, by file and index.

    Raises
    ------
    BadDataError
        If `on_bad` is "refuse" and there is a fault, or if nothing sound is left; a LabelsError if `labels` are of
        unknown clips or signs.
    FileNotFoundError
        If there is no file.
    """
    rows = _Rows(labels=labels or {})
    found = [(file, load(file, rows.faults)) for file in files(path)]
    apart = sum(loaded is None or bool(named(loaded[0]["y"]).any()) for _, loaded in found) > 1
    for file, loaded in found:
        if loaded is not None:
            _take(file.name, *loaded, rows, signs, signer, prefix=f"{file.stem}:" if apart else "")
    check(rows.labels, rows.clips, rows.own)
    if (rows.faults and on_bad == "refuse") or not rows.sequences:
        raise BadDataError(rows.faults)
    names, numbers = np.unique(np.array(rows.signs), return_inverse=True)
    clips = Clips(
        tuple(rows.sequences), numbers.astype(np.int64), tuple(str(name) for name in names), np.array(rows.signers)
    )
    return clips, tuple(rows.faults)


def named(signs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which of a file's labels name a sign, bool [N]."""
    return np.array([str(sign).lower() not in UNLABELLED for sign in signs], dtype=bool)


def _take(
    name: str,
    arrays: dict[str, npt.NDArray[Any]],
    frames: npt.NDArray[np.float32],
    rows: _Rows,
    known: Collection[str] | None,
    signer: str,
    prefix: str,
) -> None:
    signs = arrays["y"].astype(str)
    who, labelled = _signers(arrays, signs, signer), named(signs)
    rows.own.update(prefix + sign for sign in signs[labelled].tolist())
    stops = np.cumsum(arrays["len"])
    for index, (start, stop) in enumerate(zip(stops - arrays["len"], stops, strict=True)):
        sign = str(signs[index])
        given = _given(name, index, frames[start:stop], rows)
        if given is None and (not labelled[index] or (known is not None and sign not in known)):
            fault: Fault | None = Fault(name, index, "unknown label", f"expected a known sign, got {sign!r}")
        elif stop > len(frames):
            fault = Fault(name, index, "truncated", f"expected frames up to {stop}, the file ends at {len(frames)}")
        else:
            fault = fault_of(name, index, frames[start:stop])
        if fault is not None:
            rows.faults.append(fault)
            continue
        rows.sequences.append(np.ascontiguousarray(frames[start:stop]))
        rows.signs.append(given.sign if given else prefix + sign)
        rows.signers.append(prefix + str(who[index]))


def _given(name: str, index: int, frames: Frames, rows: _Rows) -> Label | None:
    if not rows.labels:
        return None
    clip = clip_id(name, index, frames)
    rows.clips.add(clip)
    return rows.labels.get(clip)


def load(
    file: Path, faults: list[Fault], *, labelled: bool = True
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]] | None:
    """Return a file's arrays, and its frames float32 [all, 225]; None, and a fault more, if it is wrong as a whole."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        faults.append(Fault(file.name, None, "unreadable file", f"expected a whole .npz file, got: {error}"))
        return None
    needed = ("len", "y") if labelled else ("len",)
    missing = [name for name in needed if name not in arrays] + ["Xq or X"] * (not {"Xq", "X"} & set(arrays))
    if missing:
        faults.append(Fault(file.name, None, "missing array", f"expected {', '.join(missing)}, got {list(arrays)}"))
        return None
    frames = arrays["Xq"].T if "Xq" in arrays else arrays["X"]
    if frames.shape[1:] != (WIDTH,):
        detail = f"expected {WIDTH} values per frame, got frames of shape {list(frames.shape)}"
        faults.append(Fault(file.name, None, "wrong width", detail))
        return None
    if "Xq" in arrays:
        frames = frames / np.float32(_THOUSANDTHS)
    return arrays, frames.astype(np.float32)


def _signers(arrays: dict[str, npt.NDArray[Any]], signs: npt.NDArray[np.str_], field_name: str) -> npt.NDArray[Any]:
    if field_name != "auto":
        if field_name not in arrays:
            raise KeyError(f"expected a field among {sorted(arrays)} to distinguish signers, got {field_name!r}")
        return arrays[field_name].astype(str)
    labelled = bool(named(signs).any())
    for candidate in SIGNER_FIELDS:
        if candidate in arrays and (not labelled or _recurs(signs, arrays[candidate])):
            who = arrays[candidate].astype(str)
            return _takes(signs, who) if candidate == "seqid" else who
    return np.arange(len(signs)).astype(str)  # no one knows: each clip is its own signer


def _recurs(signs: npt.NDArray[np.str_], who: npt.NDArray[Any]) -> bool:
    # a split by this field can teach and ask each sign only if two of its values show the sign
    pairs = np.unique(np.stack([signs, who.astype(str)]), axis=1)
    _, values_per_sign = np.unique(pairs[0], return_counts=True)
    return bool((values_per_sign > 1).mean() > 0.9)


def _takes(signs: npt.NDArray[np.str_], ids: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    # ids only count one sign's takes: id 7 of one source is not id 7 of another; the first take, the second, ... are
    order = sorted(range(len(signs)), key=lambda i: (signs[i], len(ids[i]), ids[i]))
    takes = np.empty(len(signs), dtype="<U8")
    number, last = 0, (None, None)
    for i in order:
        now = (signs[i], ids[i])
        number = 0 if now[0] != last[0] else number + (now != last)
        takes[i], last = f"take-{number}", now
    return takes


def fault_of(file: str, index: int, frames: npt.NDArray[Any]) -> Fault | None:
    """Return what is wrong with one sequence of shape [T, width], or None."""
    if frames.shape[1:] != (WIDTH,):
        return Fault(file, index, "wrong width", f"expected {WIDTH} values per frame, got shape {list(frames.shape)}")
    if len(frames) == 0:
        return Fault(file, index, "empty sequence", "expected at least one frame, got none")
    measured = measure(frames)
    if not measured:
        return Fault(file, index, "nothing seen", "expected some landmarks, got only NaN or zeros")
    for doubt in find_doubts(frames, measured, POSSIBLE):
        return Fault(file, index, "implausible", f"expected {doubt.expected}, got {doubt.received}; {doubt.hint}")
    return None

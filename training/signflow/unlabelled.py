"""Recorded sequences without their labels, to be pretrained on; and who is in them, so that tests stay unseen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.signflow.sequences import Frames
from training.data.quality import BadDataError, Fault
from training.signflow import recorded
from training.signflow.clips import Clips

PEOPLE: Final = ("source", "group")
"""Fields that name the same people in other files too; a take's number does not."""


@dataclass(frozen=True)
class Unlabelled:
    """Sequences without a known sign.

    Attributes
    ----------
    sequences
        float32 [T, 225] each.
    people
        Of each, whatever names its signer.
    """

    sequences: tuple[Frames, ...]
    people: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, clips: Clips) -> Unlabelled:
        """Return clips without their labels."""
        return cls(clips.sequences, tuple(frozenset({_person(name)}) for name in clips.signers.tolist()))

    def apart_from(self, clips: Clips) -> Unlabelled:
        """Return what is left without some clips and without all else that their signers did."""
        who = {_person(name) for name in clips.signers.tolist()}
        seen = {_key(frames) for frames in clips.sequences}
        kept = [
            (frames, people)
            for frames, people in zip(self.sequences, self.people, strict=True)
            if who.isdisjoint(people) and _key(frames) not in seen
        ]
        return Unlabelled(tuple(frames for frames, _ in kept), tuple(people for _, people in kept))

    def clips(self) -> Clips:
        """Return them as clips, all of one nameless sign."""
        signers = np.array([", ".join(sorted(people)) for people in self.people])
        return Clips(self.sequences, np.zeros(len(self.sequences), dtype=np.int64), ("",), signers)

    def describe(self) -> dict[str, list[str]]:
        """Return who and what is in them, as JSON can hold it and `find_overlap` reads it."""
        return {
            "people": sorted(frozenset().union(*self.people)),
            "sequences": sorted({_key(frames) for frames in self.sequences}),
        }


def find_overlap(described: dict[str, list[str]], clips: Clips) -> list[str]:
    """Return the signers of those clips that are in unlabelled sequences, or whose signers are; `described` by them."""
    people, sequences = set(described["people"]), set(described["sequences"])
    names = [_person(name) for name in clips.signers.tolist()]
    both = zip(names, clips.sequences, strict=True)
    return sorted({name for name, frames in both if name in people or _key(frames) in sequences})


def read(path: Path) -> Unlabelled:
    """Read every sound sequence of an ``.npz`` file or of a folder of them; an array ``y`` may be missing.

    Raises
    ------
    BadDataError
        If nothing sound is there.
    FileNotFoundError
        If there is no file.
    """
    faults: list[Fault] = []
    sequences: list[Frames] = []
    people: list[frozenset[str]] = []
    for file in recorded.files(path):
        if (loaded := recorded.load(file, faults, labelled=False)) is None:
            continue
        arrays, frames = loaded
        stops = np.cumsum(arrays["len"])
        for index, (start, stop) in enumerate(zip(stops - arrays["len"], stops, strict=True)):
            own = np.ascontiguousarray(frames[start:stop])
            if stop > len(frames) or recorded.fault_of(file.name, index, own):
                continue
            sequences.append(own)
            people.append(frozenset(_person(str(arrays[name][index])) for name in PEOPLE if name in arrays))
    if not sequences:
        raise BadDataError(faults)
    return Unlabelled(tuple(sequences), tuple(people))


def _person(signer: str) -> str:
    return signer.rpartition(":")[2]  # clips of several files name theirs ``file:signer``


def _key(frames: Frames) -> str:
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()[:16]

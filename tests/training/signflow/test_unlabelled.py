from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.families.signflow import frames_of
from training.data.quality import BadDataError
from training.signflow import unlabelled
from training.signflow.clips import Clips
from training.signflow.recorded import read as read_labelled


def write(path: Path, sources: list[str], **arrays: Any) -> None:
    lengths = np.full(len(sources), 5)
    values = np.rint(frames_of(int(lengths.sum()), len(sources)).T * 1000).astype(np.int16)
    np.savez(path, Xq=values, len=lengths, source=np.array(sources), **arrays)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a.npz", ["ann", "bob", "ann", "bob"], y=np.array(["yes", "yes", "no", "no"]))
    write(tmp_path / "b.npz", ["ann", "cy", "bob"])
    return tmp_path


def test_labels_are_neither_needed_nor_read(folder: Path) -> None:
    everything = unlabelled.read(folder)
    assert len(everything.sequences) == 7
    assert everything.people[4:] == (frozenset({"ann"}), frozenset({"cy"}), frozenset({"bob"}))
    assert everything.clips().signs == ("",)


def test_test_people_are_left_out_of_every_file(folder: Path) -> None:
    test = read_labelled(folder / "a.npz")[0].select([0, 2])
    assert set(test.signers) == {"ann"}
    rest = unlabelled.read(folder).apart_from(test)
    assert frozenset().union(*rest.people) == {"bob", "cy"}
    assert unlabelled.find_overlap(rest.describe(), test) == []
    assert unlabelled.find_overlap(unlabelled.read(folder).describe(), test) == ["ann"]


def test_people_whose_names_hold_a_colon_are_left_out_too(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", ["web:ann", "web:bob", "web:ann", "web:bob"], y=np.array(["yes", "yes", "no", "no"]))
    write(tmp_path / "b.npz", ["web:ann", "cy"])
    test = read_labelled(tmp_path / "a.npz")[0].select([0])
    assert frozenset().union(*unlabelled.read(tmp_path).apart_from(test).people) == {"bob", "cy"}


def test_a_test_clip_is_left_out_where_nothing_names_its_signer(folder: Path) -> None:
    everything = unlabelled.read(folder)
    test = Clips(everything.sequences[:1], np.zeros(1, dtype=np.int64), ("yes",), np.array(["take-0"]))
    rest = everything.apart_from(test)
    assert len(rest.sequences) == 6
    assert unlabelled.find_overlap(everything.describe(), test) == ["take-0"]
    assert unlabelled.find_overlap(rest.describe(), test) == []


def test_broken_and_empty_sequences_are_left_out(tmp_path: Path) -> None:
    frames = np.ones((6, 225), dtype=np.float32)
    frames[2:4] = np.nan
    np.savez(tmp_path / "c.npz", X=frames, len=np.array([2, 2, 2, 9]))
    assert len(unlabelled.read(tmp_path).sequences) == 2


def test_nothing_sound_is_said(tmp_path: Path) -> None:
    (tmp_path / "d.npz").write_bytes(b"no archive")
    with pytest.raises(BadDataError, match="unreadable"):
        unlabelled.read(tmp_path)

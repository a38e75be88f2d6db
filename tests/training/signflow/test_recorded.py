from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.families.signflow import frames_of, implausible
from training.data.quality import BadDataError, Fault
from training.signflow.recorded import read


def arrays(count: int = 6, frames: int = 5, **changed: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    usual = {
        "X": frames_of(count * frames),
        "len": np.full(count, frames, np.int32),
        "y": np.array([f"sign{index % 2}" for index in range(count)]),
        "source": np.array([f"person{index // 2}" for index in range(count)]),
    }
    return usual | changed


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(name: str = "clips.npz", **content: Any) -> Path:
        np.savez(tmp_path / name, **content)
        return tmp_path / name

    return written


def kinds(faults: Iterable[Fault]) -> list[tuple[str, int | None, str]]:
    return [(fault.file, fault.index, fault.kind) for fault in faults]


def test_sound_data_is_read_whole(write: Callable[..., Path]) -> None:
    content = arrays()
    clips, faults = read(write(**content))
    assert faults == ()
    assert clips.signs == ("sign0", "sign1")
    assert clips.labels.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(np.concatenate(clips.sequences), content["X"])


def test_thousandths_are_read_as_coordinates(write: Callable[..., Path]) -> None:
    content = arrays()
    content["Xq"] = np.rint(content.pop("X").T * 1000).astype(np.int16)
    clips, _ = read(write(**content))
    np.testing.assert_allclose(np.concatenate(clips.sequences), content["Xq"].T / 1000, atol=1e-6)


def test_an_empty_sequence_is_reported_by_index(write: Callable[..., Path]) -> None:
    lengths = np.array([5, 5, 0, 10, 5, 5], np.int32)
    clips, faults = read(write(**arrays(len=lengths)))
    assert kinds(faults) == [("clips.npz", 2, "empty sequence")]
    assert len(clips) == 5


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_sequence_that_shows_nothing_is_reported_by_index(write: Callable[..., Path], value: float) -> None:
    content = arrays()
    content["X"][5:10] = value
    _, faults = read(write(**content))
    assert kinds(faults) == [("clips.npz", 1, "nothing seen")]


def test_an_unknown_label_is_reported_by_index(write: Callable[..., Path]) -> None:
    clips, faults = read(write(**arrays()), signs={"sign0"})
    assert kinds(faults) == [("clips.npz", index, "unknown label") for index in (1, 3, 5)]
    assert clips.signs == ("sign0",)


def test_unlabelled_sequences_are_reported_by_index(write: Callable[..., Path]) -> None:
    labels = np.array(["sign0", "sign1", "", "sign1", "unlabelled", "sign0"])
    _, faults = read(write(**arrays(y=labels)))
    assert [fault.index for fault in faults] == [2, 4]


def test_sequences_beyond_the_last_frame_are_reported_as_truncated(write: Callable[..., Path]) -> None:
    content = arrays()
    content["X"] = content["X"][:22]
    clips, faults = read(write(**content))
    assert kinds(faults) == [("clips.npz", index, "truncated") for index in (4, 5)]
    assert len(clips) == 4


def test_a_wrong_width_is_reported_for_the_file(write: Callable[..., Path]) -> None:
    write("a.npz", **arrays())
    path = write("b.npz", **arrays(X=np.ones((30, 224), np.float32)))
    clips, faults = read(path.parent)
    assert kinds(faults) == [("b.npz", None, "wrong width")]
    assert "224" in faults[0].detail
    assert clips.signs == ("a:sign0", "a:sign1")


def test_a_truncated_file_is_reported(write: Callable[..., Path]) -> None:
    write("a.npz", **arrays())
    path = write("b.npz", **arrays())
    path.write_bytes(path.read_bytes()[:-500])
    _, faults = read(path.parent)
    assert kinds(faults) == [("b.npz", None, "unreadable file")]


def test_a_damaged_file_is_reported(write: Callable[..., Path]) -> None:
    write("a.npz", **arrays())
    path = write("b.npz", **arrays())
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    _, faults = read(path.parent)
    assert kinds(faults) == [("b.npz", None, "unreadable file")]


def test_a_file_with_pickled_objects_is_not_opened(write: Callable[..., Path]) -> None:
    write("a.npz", **arrays())
    path = write("b.npz", **arrays(y=np.array(["sign0", None] * 3, dtype=object)))
    _, faults = read(path.parent)
    assert kinds(faults) == [("b.npz", None, "unreadable file")]


def test_a_file_without_labels_is_reported(write: Callable[..., Path]) -> None:
    write("a.npz", **arrays())
    content = arrays()
    del content["y"]
    _, faults = read(write("b.npz", **content).parent)
    assert kinds(faults) == [("b.npz", None, "missing array")]


def test_bad_data_is_refused_when_asked_with_every_fault_in_the_message(write: Callable[..., Path]) -> None:
    content = arrays()
    content["X"][5:10] = np.nan
    with pytest.raises(BadDataError, match=r"clips.npz\[1\]: nothing seen"):
        read(write(**content), on_bad="refuse")


def test_data_with_nothing_sound_in_it_is_refused_even_when_skipping(write: Callable[..., Path]) -> None:
    with pytest.raises(BadDataError):
        read(write(**arrays(X=np.full((30, 225), np.nan, np.float32))))


def test_a_path_without_data_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read(tmp_path)


def test_signers_are_told_by_the_broadest_field_under_which_signs_recur(write: Callable[..., Path]) -> None:
    one_source = np.full(6, "studio")
    persons = np.array(["p0", "p0", "p1", "p1", "p2", "p2"])
    clips, _ = read(write(**arrays(source=one_source, group=persons, seqid=np.arange(6).astype(str))))
    assert clips.signers.tolist() == persons.tolist()


def test_signers_are_told_by_the_field_asked_for(write: Callable[..., Path]) -> None:
    clips, _ = read(write(**arrays(seqid=np.arange(6).astype(str))), signer="seqid")
    assert len(set(clips.signers)) == 6
    with pytest.raises(KeyError, match="camera"):
        read(write(**arrays()), signer="camera")


def test_sequence_ids_are_told_apart_by_take_since_sources_count_differently(write: Callable[..., Path]) -> None:
    one = np.full(6, "studio")
    signs = np.array(["a", "a", "a", "b", "b", "b"])
    ids = np.array(["10", "2", "7", "101", "33", "55"])
    clips, _ = read(write(**arrays(y=signs, source=one, group=one, seqid=ids)))
    assert clips.signers.tolist() == ["take-2", "take-0", "take-1", "take-2", "take-0", "take-1"]


@pytest.mark.parametrize("name", ["world landmarks", "hands swapped", "pixels", "axes one after the other"])
def test_sequences_that_cannot_be_right_are_left_out_and_said_why(write: Callable[..., Path], name: str) -> None:
    content = arrays(count=6, frames=24)
    wrong, hint = implausible()[name]
    content["X"][24:48] = wrong
    clips, faults = read(write(**content))
    assert kinds(faults) == [("clips.npz", 1, "implausible")]
    assert hint in faults[0].detail
    assert len(clips) == 5

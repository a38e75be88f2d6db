import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.families.signflow import frames_of
from training.data.quality import BadDataError, Fault
from training.signflow.annotations import LabelsError, clip_id, read
from training.signflow.clips import Clips
from training.signflow.recorded import read as read_clips


@pytest.fixture
def recordings(tmp_path: Path) -> tuple[Path, list[str]]:
    """Two files: four clips of two signs by two people, and three clips without labels by another."""

    def write(name: str, signs: list[str], people: list[str]) -> list[npt.NDArray[np.float32]]:
        frames = frames_of(5 * len(signs), len(signs))
        lengths = np.full(len(signs), 5)
        np.savez(tmp_path / name, X=frames, len=lengths, y=np.array(signs), source=np.array(people))
        return np.split(frames, len(signs))

    write("known.npz", ["no", "yes", "no", "yes"], ["ann", "ann", "bob", "bob"])
    unknown = write("new.npz", ["", "?", ""], ["cy", "cy", "cy"])
    return tmp_path, [clip_id("new.npz", index, frames) for index, frames in enumerate(unknown)]


@pytest.fixture
def queue(tmp_path: Path) -> Callable[..., Path]:
    def written(rows: Iterable[tuple[str, str]], name: str = "queue.csv") -> Path:
        table = "\n".join(["clip,note,label", *(f'{clip},"long, and\nwide",{label}' for clip, label in rows)])
        (tmp_path / name).write_text(f"\ufeff{table}", encoding="utf-8")
        return tmp_path / name

    return written


def taught(folder: Path, *files: Path) -> tuple[Clips, tuple[Fault, ...]]:
    return read_clips(folder, labels=read(files))


def test_labels_that_came_back_are_learned_from_and_empty_rows_are_skipped(
    recordings: tuple[Path, list[str]], queue: Callable[..., Path]
) -> None:
    folder, names = recordings
    clips, faults = taught(folder, queue([(names[2], "yes"), (names[0], ""), (names[1], " no ")]))
    assert clips.signs == ("no", "yes")
    assert [clips.signs[label] for label in clips.labels] == ["no", "yes", "no", "yes", "no", "yes"]
    assert clips.signers.tolist() == ["ann", "ann", "bob", "bob", "cy", "cy"]
    assert [(fault.file, fault.index) for fault in faults] == [("new.npz", 0)]


def test_json_comes_back_as_csv_does(recordings: tuple[Path, list[str]]) -> None:
    folder, names = recordings
    file = folder / "queue.json"
    file.write_text(json.dumps([{"clip": names[0], "label": "yes"}, {"clip": names[1], "label": None}]))
    assert len(taught(folder, file)[0]) == 5


def test_an_annotator_goes_before_the_file(recordings: tuple[Path, list[str]], queue: Callable[..., Path]) -> None:
    folder, _ = recordings
    whole, _ = read_clips(folder / "known.npz")
    wrong = clip_id("known.npz", 0, whole.sequences[0])
    clips, _ = taught(folder, queue([(wrong, "yes")]))
    assert [clips.signs[label] for label in clips.labels] == ["yes", "yes", "no", "yes"]


def test_unknown_signs_and_clips_are_refused_with_their_rows(
    recordings: tuple[Path, list[str]], queue: Callable[..., Path]
) -> None:
    folder, names = recordings
    with pytest.raises(LabelsError) as refused:
        taught(folder, queue([(names[0], "yes"), (names[1], "perhaps"), ("new.npz[9]@00000000", "no")]))
    told = str(refused.value)
    assert "row 3: expected a sign that the data shows, got 'perhaps'" in told
    assert "row 4: expected a clip of the data as it is now, got 'new.npz[9]@00000000'" in told
    assert "row 2" not in told


def test_a_clip_that_changed_since_is_unknown(recordings: tuple[Path, list[str]], queue: Callable[..., Path]) -> None:
    folder, names = recordings
    file = queue([(names[0], "yes")])
    with np.load(folder / "new.npz") as arrays:
        np.savez(folder / "new.npz", **(dict(arrays) | {"X": arrays["X"][::-1]}))
    with pytest.raises(LabelsError, match="row 2: expected a clip of the data as it is now"):
        taught(folder, file)


def test_two_labels_of_one_clip_are_refused_with_both_rows(
    recordings: tuple[Path, list[str]], queue: Callable[..., Path]
) -> None:
    _, names = recordings
    first, second = queue([(names[0], "yes")]), queue([(names[1], "no"), (names[0], "no")], "second.csv")
    with pytest.raises(LabelsError, match=r"second\.csv: two labels: row 3: .* 'no' here, 'yes' in queue\.csv row 2"):
        read([first, second])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("queue.csv", ""),
        ("queue.csv", "clip;label\na;b\n"),
        ("queue.csv", "clip\na\n"),
        ("queue.csv", "\0"),
        ("queue.json", '{"clip": "a"}'),
        ("queue.json", '[{"clip": "a"}]'),
    ],
)
def test_what_is_no_queue_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadDataError, match="columns clip and label"):
        read([tmp_path / name])


def test_broken_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.json").write_text("[{")
    with pytest.raises(BadDataError, match="unreadable file"):
        read([tmp_path / "queue.json"])


def test_where_no_recording_names_a_sign_all_signs_are_taken(
    recordings: tuple[Path, list[str]], queue: Callable[..., Path]
) -> None:
    folder, names = recordings
    (folder / "known.npz").unlink()
    clips, _ = taught(folder, queue([(names[0], "left"), (names[1], "right")]))
    assert clips.signs == ("left", "right")

from pathlib import Path

import numpy as np
import pytest

from tests.families.signflow import frames_of
from training.signflow.own_takes import Calibration, CalibrationError, Server, read_takes


def test_a_folder_names_signs_by_files_and_by_folders(tmp_path: Path) -> None:
    (tmp_path / "more.-2").mkdir()
    for name in ("thanks.npy", "thanks-2.npy", "good morning 3.npy", "more.-2/a.npy"):
        np.save(tmp_path / name, frames_of(12))
    assert sorted(take.sign for take in read_takes(tmp_path)) == ["good morning", "more.-2", "thanks", "thanks"]


def test_an_npz_is_read_as_in_training(tmp_path: Path) -> None:
    frames = [frames_of(12), frames_of(9, seed=1)]
    np.savez(tmp_path / "takes.npz", X=np.concatenate(frames), len=[12, 9], y=["yes", "no"])
    takes = read_takes(tmp_path / "takes.npz")
    assert [(take.sign, len(take.frames)) for take in takes] == [("yes", 12), ("no", 9)]


@pytest.mark.parametrize("content", [None, np.zeros((3, 7), np.float32), np.array(["a"])])
def test_what_is_no_take_is_named(tmp_path: Path, content: np.ndarray | None) -> None:
    if content is not None:
        np.save(tmp_path / "thanks.npy", content)
    with pytest.raises(CalibrationError, match=r"expected (SIGN\.npy|one take of thanks)"):
        read_takes(tmp_path)


def test_a_calibration_is_read_again_and_nothing_else_is(tmp_path: Path) -> None:
    written = Calibration("signflow", "1.0", "ab" * 32, {"yes": [[0.5, -1.0]]})
    written.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json") == written
    (tmp_path / "other.json").write_text('{"prototypes": {}}')
    with pytest.raises(CalibrationError, match=r"other\.json: expected what scripts/calibrate\.py writes"):
        Calibration.read(tmp_path / "other.json")


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "yes.npy", frames_of(5))
    with pytest.raises(CalibrationError, match="is it served there"):
        Server("http://127.0.0.1:9", "signflow").calibrate(read_takes(tmp_path))

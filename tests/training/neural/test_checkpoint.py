from pathlib import Path
from typing import Never

import pytest
import torch

from training.neural import checkpoint


def test_tensors_and_note_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.safetensors"
    checkpoint.write(path, {"a/b": torch.arange(3), "c": torch.tensor(1.5)}, {"epoch": 3, "scores": [0.5]})
    tensors, note = checkpoint.read(path)
    assert torch.equal(tensors["a/b"], torch.arange(3))
    assert note == {"epoch": 3, "scores": [0.5]}
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


def test_a_truncated_checkpoint_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    checkpoint.write(path, {"a": torch.arange(1000)}, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(checkpoint.CheckpointError, match="delete it to start again"):
        checkpoint.read(path)


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.safetensors"
    checkpoint.write(path, {"a": torch.arange(3)}, {"epoch": 1})

    def full(*_: object) -> Never:
        raise OSError("disk full")

    monkeypatch.setattr("training.neural.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(path, {"a": torch.arange(4)}, {"epoch": 2})
    assert checkpoint.read(path)[1] == {"epoch": 1}

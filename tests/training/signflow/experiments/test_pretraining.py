from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import experiment as command
from training.signflow.experiments.harness import Data
from training.signflow.experiments.pretraining import few, unlabelled
from training.signflow.synthetic.signing import Synthesis, generate

CLIPS = generate(Synthesis(signs=4, signers=8, takes=2))


def test_few_labels_are_a_share_of_every_sign_and_at_least_one() -> None:
    assert np.bincount(few(CLIPS, 0.01, 0).labels).tolist() == [1, 1, 1, 1]
    assert np.bincount(few(CLIPS, 0.5, 0).labels).tolist() == [8, 8, 8, 8]
    assert len(few(CLIPS, 1.0, 0)) == len(CLIPS)
    keys = [{frames.tobytes() for frames in few(CLIPS, 0.25, seed).sequences} for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_nothing_of_the_test_people_is_pretrained_on(tmp_path: Path) -> None:
    data = Data("clips", CLIPS)
    for name, part in (("clips", CLIPS), ("more", CLIPS.select(range(20)))):
        arrays: dict[str, Any] = {"X": np.concatenate(part.sequences), "len": part.lengths, "source": part.signers}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    train, test = data.unseen(1)
    sequences = unlabelled(str(tmp_path / "clips.npz"), train, test)
    assert frozenset().union(*sequences.people) == set(train.signers)
    assert len(sequences.sequences) > len(train)


def test_it_is_pretrained_once_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.signflow.experiments.harness.load", lambda path: Data("synthetic", CLIPS))
    options = ["--seeds", "0", "--shown", "4", "--pretraining", "48", "--out", str(tmp_path)]
    assert command.main(["pretraining", *options]) == 0
    assert len(list((tmp_path / "weights").glob("*-pretrained-*"))) == 1
    assert "to pretrained, 5%" in capsys.readouterr().out
    assert (tmp_path / "pretraining-synthetic.png").exists()

import numpy as np

from scripts import experiment as command
from training.data.signflow_synthetic import Synthesis, generate
from training.experiment import Data
from training.experiments.pretraining import few, unlabelled

CLIPS = generate(Synthesis(signs=4, signers=8, takes=2))


def test_few_labels_are_a_share_of_every_sign_and_at_least_one():
    assert np.bincount(few(CLIPS, 0.01, 0).labels).tolist() == [1, 1, 1, 1]
    assert np.bincount(few(CLIPS, 0.5, 0).labels).tolist() == [8, 8, 8, 8]
    assert len(few(CLIPS, 1.0, 0)) == len(CLIPS)
    keys = [{frames.tobytes() for frames in few(CLIPS, 0.25, seed).sequences} for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_nothing_of_the_test_people_is_pretrained_on(tmp_path):
    data = Data("clips", CLIPS)
    for name, part in (("clips", CLIPS), ("more", CLIPS.select(range(20)))):
        arrays = {"X": np.concatenate(part.sequences), "len": part.lengths, "source": part.signers}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    train, test = data.unseen(1)
    sequences = unlabelled(str(tmp_path / "clips.npz"), train, test)
    assert frozenset().union(*sequences.people) == set(train.signers)
    assert len(sequences.sequences) > len(train)


def test_it_is_pretrained_once_a_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.experiment.load", lambda path: Data("synthetic", CLIPS))
    options = ["--seeds", "0", "--shown", "4", "--pretraining", "48", "--out", str(tmp_path)]
    assert command.main(["pretraining", *options]) == 0
    assert len(list((tmp_path / "weights").glob("*-pretrained-*"))) == 1
    assert "to pretrained, 5%" in capsys.readouterr().out
    assert (tmp_path / "pretraining-synthetic.png").exists()

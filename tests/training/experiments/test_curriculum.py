import pytest

from scripts import experiment as command
from training.data.signflow_synthetic import Synthesis, generate
from training.experiment import Data
from training.experiments.curriculum import _first


def test_the_way_to_a_target_is_read_between_epochs():
    assert _first([0, 1, 2], [0.1, 0.4, 0.6], 0.5) == pytest.approx(1.5)
    assert _first([0, 1, 2], [0.1, 0.4, 0.45], 0.5) == 2  # never reached


def test_every_arm_is_shown_as_much_the_brief_network_included(tmp_path, monkeypatch, capsys):
    few = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=1)))
    monkeypatch.setattr("training.experiment.load", lambda path: few)
    assert command.main(["curriculum", "--seeds", "0", "--epochs", "4", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")] for line in told.splitlines() if line.startswith("|")]
    epochs = {row[1]: float(row[7]) for row in rows[2:]}
    assert epochs == {
        **dict.fromkeys(("usual", "length", "confidence", "random"), 4.0),
        **dict.fromkeys(("usual, 75%", "length, 75%", "confidence, 75%"), 3.0),
    }
    assert (tmp_path / "curriculum-synthetic.png").exists()

from scripts import experiment as command
from training.data.signflow_synthetic import Synthesis, generate
from training.experiment import Data
from training.signflow_fit import fit


def test_every_arm_is_shown_as_much_the_brief_network_included(tmp_path, monkeypatch, capsys):
    few, epochs = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=1))), []

    def counted(clips, validation, recipe, *rest, **named):
        epochs.append(recipe.schedule.epochs)
        return fit(clips, validation, recipe, *rest, **named)

    monkeypatch.setattr("training.experiment.load", lambda path: few)
    monkeypatch.setattr("training.experiments.curriculum.fit", counted)
    monkeypatch.setattr("training.signflow_curriculum.fit", counted)
    assert command.main(["curriculum", "--seeds", "0", "--epochs", "3", "--out", str(tmp_path)]) == 0
    assert epochs == [3, 3, 1, 2, 3, 4]  # usual, length, confidence in two parts, random, longer
    assert "| usual, longer | 1 |" in capsys.readouterr().out
    assert (tmp_path / "curriculum-synthetic.png").exists()

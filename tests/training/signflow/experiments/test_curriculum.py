from pathlib import Path
from typing import Any

import pytest

from scripts import experiment as command
from training.signflow.clips import Clips
from training.signflow.experiments.harness import Data
from training.signflow.fit import Recipe, fit
from training.signflow.synthetic.signing import Synthesis, generate


def test_every_arm_is_shown_as_much_the_brief_network_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few, epochs = Data("synthetic", generate(Synthesis(signs=4, signers=8, takes=1))), []

    def counted(clips: Clips, validation: Any, recipe: Recipe, *rest: Any, **named: Any) -> Any:
        epochs.append(recipe.schedule.epochs)
        return fit(clips, validation, recipe, *rest, **named)

    monkeypatch.setattr("training.signflow.experiments.harness.load", lambda path: few)
    monkeypatch.setattr("training.signflow.experiments.curriculum.fit", counted)
    monkeypatch.setattr("training.signflow.curriculum.fit", counted)
    assert command.main(["curriculum", "--seeds", "0", "--epochs", "3", "--out", str(tmp_path)]) == 0
    assert epochs == [3, 3, 1, 2, 3, 4]  # usual, length, confidence in two parts, random, longer
    assert "| usual, longer | 1 |" in capsys.readouterr().out
    assert (tmp_path / "curriculum-synthetic.png").exists()

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from training.signflow.cross_validation import cross_validate, markdown
from training.signflow.fit import SAME_SIGNERS, recipe_for
from training.signflow.synthetic.signing import Synthesis, generate


def test_network_and_forest_are_tested_on_the_same_unseen_signers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = generate(Synthesis(signs=2, signers=4, takes=2))
    names = np.array(clips.signs)[clips.labels]
    frames = np.concatenate(clips.sequences)
    np.savez(tmp_path / "few.npz", X=frames, len=clips.lengths, y=names, source=clips.signers)
    result = cross_validate(tmp_path / "few.npz", "small", 2, Console(soft_wrap=True), only=[0])
    assert [fold.tested for fold in result.folds] == [8]
    assert result.folds[0].network.count == result.folds[0].baseline.count == 8
    assert "few fold 1/2: 8 clips" in capsys.readouterr().out
    assert "| few | 16 | 2 | 1 |" in markdown([result])


def test_small_sets_are_passed_more_often_than_large_ones() -> None:
    clips = generate(Synthesis(signs=2, signers=4, takes=2))
    assert recipe_for(clips, "small", seen=16 * 50).schedule.epochs == 50
    assert recipe_for(clips, "small", seen=1).schedule.epochs == 24


def test_takes_of_known_signers_are_learned_without_other_bodies() -> None:
    clips = generate(Synthesis(signs=2, signers=4, takes=2))
    takes = type(clips)(clips.sequences, clips.labels, clips.signs, np.array(["take-0", "take-1"] * 8))
    assert recipe_for(takes, "small") == SAME_SIGNERS

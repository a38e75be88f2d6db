from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.signflow.curriculum import Pace, by_confidence, by_length, competence, curriculum, easy_first
from training.signflow.fit import Recipe, Technique
from training.signflow.recipe import TrainOptions, train
from training.signflow.synthetic.signing import Synthesis, generate

CLIPS = generate(Synthesis(signs=4, signers=8, takes=2))
TEN = replace(Recipe(), schedule=replace(Recipe().schedule, epochs=10))


def order(technique: Technique, number: int, recipe: Recipe = TEN) -> npt.NDArray[np.int64]:
    return technique.order(CLIPS, recipe, number, np.random.default_rng(number))


def test_competence_grows_as_a_square_root_from_its_start_to_everything() -> None:
    pace = Pace(start=0.2, until=0.5)
    share = competence(np.array([0.0, 0.25, 0.5, 0.9]), pace)
    assert share == pytest.approx([0.2, np.sqrt(0.5 * 0.96 + 0.04), 1, 1])


def test_the_first_epoch_shows_short_clips_only_and_later_ones_all() -> None:
    technique = easy_first(by_length(CLIPS), "length", 0)
    first = order(technique, 0)
    most = competence(np.array([0.1]), Pace())[0]  # by the end of the first of ten epochs
    assert CLIPS.lengths[first].max() <= np.sort(CLIPS.lengths)[int(np.ceil(most * len(CLIPS))) - 1]
    assert CLIPS.lengths[first].max() < CLIPS.lengths.max()
    assert sorted(order(technique, 5)) == list(range(len(CLIPS)))


def test_an_epoch_is_as_long_as_without_a_curriculum() -> None:
    technique = easy_first(by_length(CLIPS), "length", 0)
    assert {len(order(technique, number)) for number in range(10)} == {len(CLIPS)}


def test_equally_hard_clips_come_in_chance_order() -> None:
    shown = [set(order(easy_first(np.zeros(len(CLIPS)), "none", seed), 0).tolist()) for seed in (0, 1)]
    assert shown[0] != shown[1]
    assert max(shown[0]) > len(CLIPS) / 2


def test_clips_whose_sign_was_told_wrong_are_hard() -> None:
    wrong = np.arange(0, len(CLIPS), 8)
    labels = CLIPS.labels.copy()
    labels[wrong] = (labels[wrong] + 2) % 4  # not the twin, which differs in the order of events only
    difficulty = by_confidence(replace(CLIPS, labels=labels), replace(TEN, batch_size=8), epochs=10)
    right = np.setdiff1d(np.arange(len(CLIPS)), wrong)
    assert difficulty[wrong].mean() > difficulty[right].mean() + 0.1


def test_the_rest_of_a_technique_is_kept() -> None:
    technique = easy_first(by_length(CLIPS), "length", 0, Technique(identity={"teacher": "t"}))
    assert technique.identity == {"teacher": "t", "curriculum": "length", "start": 0.2, "until": 0.5}


def test_other_clips_than_were_ranked_are_refused() -> None:
    technique = easy_first(np.zeros(3), "length", 0)
    with pytest.raises(ValueError, match="expected the 3 clips whose difficulty is known, got 64"):
        order(technique, 0)


def test_an_unknown_curriculum_is_refused() -> None:
    with pytest.raises(ValueError, match="length, confidence, got 'shape'"):
        curriculum("shape", CLIPS, TEN)


def test_a_training_has_a_curriculum_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = replace(Recipe(batch_size=16), schedule=replace(Recipe().schedule, epochs=1))
    few = Synthesis(signs=4, signers=8, takes=2)
    trained = train(TrainOptions(home=tmp_path, recipe=recipe, synthesis=few, curriculum="confidence"))["signflow"]
    assert trained.params["curriculum"] == "confidence"

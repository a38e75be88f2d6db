from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from training.neural.schedule import Epoch
from training.signflow.clips import Clips
from training.signflow.fit import RECORDED, SAME_SIGNERS, Recipe, fit, mixed_cross_entropy, recipe_in
from training.signflow.synthetic.signing import Synthesis, generate


@pytest.fixture(scope="module")
def clips() -> Clips:
    return generate(Synthesis(signs=4, signers=4, takes=2))


def brief(epochs: int, trimmed_loss: float = RECORDED.trimmed_loss) -> Recipe:
    schedule = replace(RECORDED.schedule, epochs=epochs, patience=0)
    return replace(RECORDED, batch_size=16, schedule=schedule, trimmed_loss=trimmed_loss)


def test_equal_seeds_fit_equal_networks(clips: Clips) -> None:
    first, second = (fit(clips, None, brief(2))[1].weights for _ in range(2))
    assert any(name.startswith("joints.") for name in first)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_clips_of_the_largest_loss_are_not_learned_from() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(32, 5), torch.randint(5, (32,))
    batch = torch.zeros(0), torch.zeros(0), labels, 1.0
    each = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    trimmed = replace(RECORDED, trimmed_loss=0.12)
    torch.testing.assert_close(mixed_cross_entropy(logits, batch, trimmed), each.sort().values[:28].mean())
    untrimmed = replace(RECORDED, trimmed_loss=0.0)
    torch.testing.assert_close(mixed_cross_entropy(logits, batch, untrimmed), each.mean())


def test_a_mixed_pair_counts_with_the_labels_of_both() -> None:
    logits, labels = torch.randn(6, 5), torch.randint(5, (6,))
    batch = torch.zeros(0), torch.zeros(0), labels, 0.7
    own, others = F.cross_entropy(logits, labels), F.cross_entropy(logits, labels.flip(0))
    recipe = Recipe(label_smoothing=0.0)
    torch.testing.assert_close(mixed_cross_entropy(logits, batch, recipe), 0.7 * own + 0.3 * others)


def test_recorded_clips_are_trimmed_after_a_fifth_of_the_epochs_and_generated_ones_never() -> None:
    recipe = brief(10)
    assert [recipe_in(recipe, number).trimmed_loss for number in range(4)] == [0.0, 0.0, 0.12, 0.12]
    assert Recipe().trimmed_loss == SAME_SIGNERS.trimmed_loss == 0.0


def test_an_interrupted_fit_ends_with_the_weights_of_an_uninterrupted_one(clips: Clips, tmp_path: Path) -> None:
    recipe, file = brief(3, trimmed_loss=0.25), tmp_path / "part.safetensors"
    whole = fit(clips, None, recipe)[1]
    untrimmed = fit(clips, None, replace(recipe, trimmed_loss=0.0))[1]
    assert whole.history[0].loss == untrimmed.history[0].loss
    assert whole.history[1].loss < untrimmed.history[1].loss

    def interrupt(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(clips, None, recipe, checkpoint=file, on_epoch=interrupt)
    again = fit(clips, None, recipe, checkpoint=file)[1]
    assert [epoch.loss for epoch in again.history] == [epoch.loss for epoch in whole.history]
    assert all(torch.equal(whole.weights[name], again.weights[name]) for name in whole.weights)

import numpy as np
import pytest
import torch

from tests.timing import best_of
from training.data import splits
from training.data.manifest import of_arrays
from training.signflow.clips import Clips
from training.signflow.synthetic.signing import Synthesis, generate, lexicon


@pytest.fixture(scope="module")
def clips() -> Clips:
    return generate(Synthesis())


def test_equal_options_give_equal_bytes() -> None:
    few = Synthesis(signs=4, signers=3, takes=1, seed=5)
    assert of_arrays(generate(few).arrays(), "a").sha256 == of_arrays(generate(few).arrays(), "a").sha256


def test_another_seed_gives_other_performances_of_the_same_signs() -> None:
    first, second = (generate(Synthesis(signs=4, signers=3, takes=1, seed=seed)) for seed in (0, 1))
    assert first.signs == second.signs
    assert of_arrays(first.arrays(), "a").sha256 != of_arrays(second.arrays(), "a").sha256


def test_two_thousand_clips_take_seconds() -> None:
    clips = []
    assert best_of(2, lambda: clips.append(generate(Synthesis()))) < 20
    assert len(clips[0]) > 2000


def test_there_are_at_least_thirty_signs_each_by_every_signer(clips: Clips) -> None:
    assert len(set(clips.signs)) == 32
    pairs = set(zip(clips.labels.tolist(), clips.signers.tolist(), strict=True))
    assert len(pairs) == 32 * len(set(clips.signers))


def test_every_sign_has_a_twin_that_only_runs_backwards() -> None:
    signs = lexicon(32)
    for forwards, backwards in zip(signs[::2], signs[1::2], strict=True):
        assert forwards.__dict__ | {"backwards": True} == backwards.__dict__


def test_recordings_lose_hands_now_and_then_but_are_otherwise_whole(clips: Clips) -> None:
    points = np.concatenate(clips.sequences).reshape(-1, 75, 3)
    assert np.isfinite(points).all()
    lost = ~(points[:, 33:] != 0).reshape(len(points), 2, -1).any(-1)
    assert 0.02 < lost.mean() < 0.6
    assert (points[:, :33] != 0).any(-1).all()


def test_signers_differ_in_their_dominant_hand_and_speed() -> None:
    clips = generate(Synthesis(signs=2, signers=40, takes=2))
    seen = np.array([(s.reshape(-1, 75, 3)[:, 54:] != 0).mean() - (s.reshape(-1, 75, 3)[:, 33:54] != 0).mean()
                     for s in clips.sequences])  # fmt: skip
    who = np.unique(clips.signers, return_inverse=True)[1]
    lengths = np.bincount(who, clips.lengths) / np.bincount(who)
    assert lengths.max() > 1.5 * lengths.min()
    assert (seen < 0).any() or (seen > 0).any()


@pytest.mark.slow
def test_a_linear_model_on_mean_pooled_frames_stays_below_seventy_percent_on_unseen_signers(clips: Clips) -> None:
    pooled = torch.from_numpy(np.stack([frames.mean(0) for frames in clips.sequences]))
    labels = torch.from_numpy(clips.labels)
    train, test = splits.holdout(clips.signers, 0.25)
    pooled = (pooled - pooled[train].mean(0)) / pooled[train].std(0).clamp(min=1e-4)
    best = 0.0
    for decay in (1e-3, 1e-1):
        torch.manual_seed(0)
        linear = torch.nn.Linear(225, 32)
        optimizer = torch.optim.AdamW(linear.parameters(), lr=0.02, weight_decay=decay)
        for _ in range(400):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(linear(pooled[train]), labels[train])
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            optimizer.step()
        assert (linear(pooled[train]).argmax(1) == labels[train]).float().mean() > 0.5  # it did learn
        best = max(best, float((linear(pooled[test]).argmax(1) == labels[test]).float().mean()))
    assert 0.3 < best < 0.7


def test_a_lexicon_of_one_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="2 to about 200"):
        lexicon(1)

from dataclasses import replace

import numpy as np
import pytest

from models.probabilities import softmax
from models.signflow.embedding_space import EmbeddingSpace
from training.signflow.personal_evaluation import count_teachers, count_unusual, tabulate, with_choice
from training.signflow.personal_trials import MOST_LOST, Unseen, choose, trials, try_out

SIGNS, TAKES, WIDTH = 8, 5, 16


@pytest.fixture(scope="module")
def unseen() -> Unseen:
    """Twelve signers, each with a way of their own to make each of the signs, which the network half knows."""
    rng = np.random.default_rng(0)
    signers, labels = (grid.ravel() for grid in np.meshgrid(np.arange(24), np.repeat(np.arange(SIGNS), TAKES)))
    centres = rng.normal(0, 1, (SIGNS, WIDTH))
    manners = rng.normal(0, 1.4, (24, SIGNS, WIDTH))
    embeddings = centres[labels] + manners[signers, labels] + rng.normal(0, 0.8, (len(labels), WIDTH))
    who = np.array([f"signer {number:02d}" for number in signers])
    seen = signers < 12
    space = EmbeddingSpace.around(embeddings[seen], labels[seen], who[seen], SIGNS)
    thought = softmax(-np.square(embeddings[:, None] - centres).sum(2) / 6).astype(np.float32)
    rows = np.flatnonzero(~seen)
    return Unseen(embeddings[rows].astype(np.float32), thought[rows], labels[rows], who[rows], space)


def test_a_signer_is_asked_other_clips_than_those_shown(unseen: Unseen) -> None:
    tried = list(trials(unseen, takes=2, share=1, rounds=3))
    assert len(tried) == 12 * 3
    for trial in tried:
        shown = np.concatenate(list(trial.takes.values()))
        assert len(shown) == 2 * SIGNS and not set(shown) & set(trial.asked)
        assert len(set(unseen.signers[[*shown, *trial.asked]])) == 1
        assert trial.taught(unseen.labels).all()


def test_half_of_the_signs_are_taught(unseen: Unseen) -> None:
    for trial in trials(unseen, takes=1, share=0.5, rounds=2):
        assert len(trial.takes) == SIGNS // 2
        assert trial.taught(unseen.labels).sum() == SIGNS // 2 * (TAKES - 1)


def test_signers_with_too_few_takes_teach_nothing(unseen: Unseen) -> None:
    assert not list(trials(unseen, takes=TAKES, share=1))
    assert len(try_out(unseen, TAKES, 1, unseen.space).taught) == 0


def test_own_takes_help_and_the_others_lose_little(unseen: Unseen) -> None:
    threshold, temperature = choose([unseen])
    tried = replace(unseen.space, threshold=threshold, temperature=temperature)
    half = try_out(unseen, 1, 0.5, tried)
    assert half.before[~half.taught].mean() - half.after[~half.taught].mean() <= MOST_LOST
    assert half.after[half.taught].mean() > half.before[half.taught].mean() + 0.05
    lower = try_out(unseen, 1, 0.5, replace(tried, threshold=threshold - 0.02))
    assert half.before[~half.taught].mean() - lower.after[~half.taught].mean() > MOST_LOST


def test_without_signers_to_learn_from_the_threshold_stays(unseen: Unseen) -> None:
    once = np.unique(unseen.labels, return_index=True)[1]
    few = Unseen(
        unseen.embeddings[once], unseen.probabilities[once], unseen.labels[once], unseen.signers[once], unseen.space
    )
    assert choose([few]) == (unseen.space.threshold, unseen.space.temperature)


def test_the_tables_tell_what_is_gained_and_what_is_unusual(unseen: Unseen) -> None:
    parts = with_choice([unseen])
    assert {part.space.threshold for part in parts} != {unseen.space.threshold}
    assert sum(len(part.labels) for part in parts) == len(unseen.labels)
    rows = [line.split("|")[1:-1] for line in tabulate(parts).splitlines()[4:]]
    without, gained = float(rows[0][3]), float(rows[0][4])
    assert len(rows) == 5 and gained > without + 0.05
    gain, low, high = (float(part) for part in rows[0][5].replace("(", "").replace(")", "").replace("to", "").split())
    assert low < gain < high and gain == pytest.approx(gained - without, abs=2e-3)
    assert float(rows[-1][6]) == 0  # with taught signs only, the others are never right
    assert "96 of 96" in count_teachers(parts)
    far = unseen.space.directions(np.random.default_rng(1).normal(0, 3, (400, WIDTH)))
    usual, other = count_unusual(unseen.space, unseen, [far])
    assert usual < 0.05 and other > 2 * usual

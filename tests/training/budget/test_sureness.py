import numpy as np
import pytest

from models.budget.hybrid import NEVER_SURE
from training.budget.categorizer.sureness import answer_unmet, choose
from training.data.splits import Indices

ROWS = 3000
MERCHANTS = np.array([f"m{at % 600}" for at in range(ROWS)])
TARGET = np.arange(ROWS) % 2


def probabilities(right: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Return probabilities whose highest is given and is the target's where it is right."""
    said = np.where(right, TARGET, 1 - TARGET)
    both = np.stack([1 - highest, highest], axis=1)
    return np.where(said[:, None] == 1, both, both[:, ::-1])


def test_the_threshold_keeps_the_promise_and_covers_what_it_can() -> None:
    rng = np.random.default_rng(0)
    highest = rng.uniform(0.5, 1, ROWS)
    chosen = choose(probabilities(rng.random(ROWS) < highest, highest), TARGET, MERCHANTS, 0.9)
    assert 0.75 < chosen.threshold < 0.9 and chosen.precision > chosen.low >= 0.9 and 0.2 < chosen.coverage < 0.5
    assert (
        choose(probabilities(rng.random(ROWS) < highest, highest), TARGET, MERCHANTS, 0.95).threshold > chosen.threshold
    )


@pytest.mark.parametrize("right", [0.5, 0.8, 0.89])
def test_without_a_threshold_that_keeps_the_promise_nothing_is_sure(right: float) -> None:
    rng = np.random.default_rng(1)
    found = choose(probabilities(rng.random(ROWS) < right, np.full(ROWS, 0.97)), TARGET, MERCHANTS, 0.9)
    assert found.threshold == NEVER_SURE and found.coverage == 0 and "never sure" in str(found)


def test_few_rows_show_nothing() -> None:
    few = choose(np.array([[0.01, 0.99]] * 20), np.ones(20, np.int64), np.arange(20).astype(str), 0.9)
    none = choose(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0, str), 0.9)
    assert few.threshold == none.threshold == NEVER_SURE


def test_a_shop_of_many_rows_counts_once() -> None:
    right = np.ones(ROWS, np.bool_)
    right[:300] = False
    merchants = np.array(["one shop"] * 300 + [f"m{at}" for at in range(ROWS - 300)])
    assert choose(probabilities(right, np.full(ROWS, 0.99)), TARGET, merchants, 0.95).threshold < 0.99


def test_no_merchant_and_no_owner_is_met_before_it_is_answered() -> None:
    owners = np.array([f"u{at % 7}" for at in range(ROWS)])

    def answers(learned: Indices, asked: Indices) -> np.ndarray:
        assert not set(MERCHANTS[learned]) & set(MERCHANTS[asked])
        assert not set(owners[learned]) & set(owners[asked])
        return np.zeros((len(asked), 2))

    rows, logits = answer_unmet(answers, MERCHANTS, owners, np.arange(ROWS) % 3 == 0, 2)
    assert len(rows) == len(logits) == len(set(rows.tolist())) == ROWS / 3 and (rows % 3 == 0).all()
    alone, _ = answer_unmet(answers, MERCHANTS, np.full(ROWS, "me"), np.ones(ROWS, np.bool_), 2)
    assert len(alone) == 0

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from models.budget.categories import BUCKETS, GROUP_COLUMNS, Owner, Scaling, bag
from models.budget.hybrid import FALLBACK, MODEL, RULE, decide
from models.budget.labels import parsed

LABELS = ["CB CARREFOUR CITY 12/03", "VIR SEPA M DUPONT JEAN LOYER", "CHEQUE 1234567", "", "PRLV EDF"]


def dense(indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return bags as whole rows, [N, BUCKETS]."""
    rows = np.zeros((len(indices), BUCKETS))
    np.add.at(rows, (np.arange(len(indices))[:, None], indices), weights)
    return rows


def bags(
    labels: list[str],
    amounts: float = -12.5,
    day: int = 19_800,
    owners: Sequence[Owner] = (),
    hidden: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> np.ndarray:
    count = len(labels)
    every = np.broadcast_to(np.asarray(amounts, np.float64), count)
    return dense(*bag(parsed(labels), every, np.full(count, day), Scaling(), owners, hidden))


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=6), st.floats(-1e9, 1e9), st.integers(-25_000, 80_000))
@settings(max_examples=40, deadline=None)
def test_a_batch_is_bagged_as_each_alone(labels: list[str], amount: float, day: int) -> None:
    owners = [("main", f"u{at}" if at % 2 else "") for at in range(len(labels))]
    whole = bags(labels, amount, day, owners)
    alone = [bags([label], amount, day, [owner])[0] for label, owner in zip(labels, owners, strict=True)]
    assert np.allclose(whole, alone) and np.isfinite(whole).all()


def test_every_group_of_columns_has_its_own_place() -> None:
    ends = [(where.start, where.stop) for where in GROUP_COLUMNS.values()]
    assert ends == sorted(ends) and ends[0][0] == 0 and ends[-1][1] == BUCKETS
    assert all(before[1] == after[0] for before, after in pairwise(ends))


def test_amount_sign_and_day_change_only_their_own_columns() -> None:
    def changed(first: np.ndarray, second: np.ndarray) -> set[str]:
        return {name for name, where in GROUP_COLUMNS.items() if not np.allclose(first[0, where], second[0, where])}

    base = bags(["CB LIDL"])
    assert changed(base, bags(["CB LIDL"], 12.5)) == {"kind", "kind x amount"}
    assert changed(base, bags(["CB LIDL"], -12.99)) == {"cents", "cents x amount", "scaled"}
    assert "text x amount" in changed(base, bags(["CB LIDL"], -900.5))
    assert changed(base, bags(["CB LIDL"], day=19_801)) <= {"weekday", "day", "month", "scaled"}
    assert changed(base, bags(["CB LIDL"], owners=[("", "me")])) == {"whose"}
    assert changed(base, bags(["CB LIDL"], owners=[("", "")])) == set()


def test_what_is_hidden_is_left_out() -> None:
    hidden = bags(["CB LIDL"] * 2, hidden={"amount": np.array([False, True])})
    assert np.allclose(hidden[0], bags(["CB LIDL"])[0])
    for name in ("amount", "cents", "kind x amount", "cents x amount", "text x amount"):
        assert not hidden[1, GROUP_COLUMNS[name]].any() and hidden[0, GROUP_COLUMNS[name]].any()


def test_scaling_is_robust_to_one_vast_amount() -> None:
    amounts = np.random.default_rng(0).lognormal(3, 1, 500)
    usual, odd = Scaling.fit(amounts), Scaling.fit(np.append(amounts, 1e9))
    assert abs(usual.centre - odd.centre) < 0.05 and abs(usual.width - odd.width) < 0.05


def test_a_sure_rule_goes_before_a_sure_model_and_either_before_none() -> None:
    said = np.array([0, 0, 0, -1, -1])
    confidence = np.array([0.95, 0.6, 0.6, -1, -1])
    probabilities = np.array([[0.1, 0.9], [0.1, 0.9], [0.55, 0.45], [0.2, 0.8], [0.6, 0.4]])
    decided = decide(said, confidence, probabilities, np.zeros(5, np.bool_), 0.9, 0.7)
    assert decided.sources.tolist() == [RULE, MODEL, FALLBACK, MODEL, FALLBACK]
    assert decided.labels.tolist() == [0, 1, 0, 1, 0]
    assert decided.probabilities.tolist() == [0.95, 0.9, 0.6, 0.8, 0.6]


def test_of_a_label_that_names_no_one_only_a_rule_is_sure() -> None:
    said, confidence = np.array([0, 0, -1]), np.array([0.95, 0.6, -1.0])
    probabilities = np.array([[0.01, 0.99]] * 3)
    decided = decide(said, confidence, probabilities, np.ones(3, np.bool_), 0.9, 0.7)
    assert decided.sources.tolist() == [RULE, FALLBACK, FALLBACK] and decided.labels.tolist() == [0, 1, 1]

"""How much answers hang on each feature, of a graph that is a small program."""

import numpy as np
import pytest

from archives.certificate import Arrays, Case, CertificateError
from archives.contract import Contract, Tensor
from training.packaging.importance import MOST_ROWS, permutation_importance


def contract(features: tuple[str, ...] = ("much", "little", "none")) -> Contract:
    return Contract(
        model="m",
        version="1.0",
        family="code_health",
        task="regression",
        inputs=(Tensor("features", "float32", ("batch", 3)),),
        outputs=(Tensor("value", "float32", ("batch", 1)),),
        features=features,
    )


def run(inputs: Arrays) -> Arrays:
    table = np.asarray(inputs["features"], np.float64)
    assert len(table) <= MOST_ROWS
    return {"value": table[:, [0]] + 0.1 * np.nan_to_num(table[:, [1]])}


def held_out(rows: int) -> list[Case]:
    table = np.random.default_rng(3).normal(size=(rows, 3)).astype(np.float32)
    table[::7, 1] = np.nan
    return [Case("a", {"features": table[: rows // 2]}, {}), Case("b", {"features": table[rows // 2 :]}, {})]


@pytest.mark.parametrize("rows", [1, 40, 3000])
def test_what_counts_more_is_said_to_and_the_same_each_time(rows: int) -> None:
    found = permutation_importance(contract(), held_out(rows), run)
    assert found == permutation_importance(contract(), held_out(rows), run)
    assert list(found) == ["much", "little", "none"] and found["none"] == 0
    if rows > 1:
        assert found["much"] > 5 * found["little"] > 0
        assert found["much"] == pytest.approx(2 / np.sqrt(np.pi), rel=0.3)  # of two normal numbers, the mean distance


def test_noise_is_a_tie_at_nothing_and_no_rank() -> None:
    def noisy(inputs: Arrays) -> Arrays:
        table = np.asarray(inputs["features"], np.float64)
        return {"value": np.asarray(run(inputs)["value"], np.float64) * 1e-3 + table[:, [2]] * 1e-9}

    found = permutation_importance(contract(), held_out(40), noisy)
    assert found["none"] == 0 and found["much"] > 5 * found["little"] > 0


def test_answers_that_are_no_numbers_are_refused() -> None:
    def infinite(inputs: Arrays) -> Arrays:
        return {"value": np.where(np.asarray(inputs["features"], np.float64)[:, [2]] > 1, np.inf, 0.0)}

    with pytest.raises(CertificateError, match="values of much"):
        permutation_importance(contract(), held_out(40), infinite)


def test_what_is_no_table_of_named_features_has_none() -> None:
    assert permutation_importance(contract(()), held_out(10), run) == {}
    assert permutation_importance(contract(), [], run) == {}

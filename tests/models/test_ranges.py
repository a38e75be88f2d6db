import numpy as np
import pytest

from models.code_health.features import FEATURES, NAMES, POSSIBLE, READS
from models.ranges import MISSING_SHARE, Bounds, Range, are_possible, measure_usual, missing_share

RANGES: dict[str, Range] = {"count": (0.0, None), "share": (0.0, 1.0), MISSING_SHARE: (0.0, 0.5)}
COLUMNS = ("count", "share", "free")
NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "possible"),
    [
        ((0, 0, -1e9), True),
        ((1e9, 1, NAN), True),
        ((-1, 0.5, 0), False),
        ((1, 37, 0), False),
        ((1, -0.1, 0), False),
        ((NAN, 0.5, 3), True),
        ((NAN, NAN, 3), False),
        ((NAN, NAN, NAN), False),
    ],
)
def test_a_row_is_possible_where_each_value_is_and_enough_of_them_are_there(
    row: tuple[float, ...], possible: bool
) -> None:
    assert are_possible(np.array([row]), COLUMNS, RANGES).tolist() == [possible]


def test_what_has_no_range_is_not_bounded() -> None:
    rows = np.array([[-1e30, 1e30, NAN]])
    assert not Bounds.read({}, COLUMNS).outside(rows).any()
    assert are_possible(np.array([[NAN, NAN, NAN]]), COLUMNS, {}).all()


def test_usual_is_what_nearly_all_rows_have_and_no_single_outlier() -> None:
    rows = np.random.default_rng(0).uniform(0, 100, (10_000, 3))
    rows[0, 0] = 1e9
    rows[1:200, 2] = NAN
    usual = measure_usual(rows, COLUMNS)
    assert usual["count"][1] is not None and 99 < usual["count"][1] <= 100
    assert usual["free"][1] is not None and 99 < usual["free"][1] <= 100
    assert usual[MISSING_SHARE][1] == pytest.approx(1 / 3)
    outside = Bounds.read(usual, COLUMNS).outside(rows)
    assert 0 < outside.any(axis=1).mean() < 0.01


def test_a_feature_that_is_never_there_has_no_usual_range() -> None:
    rows = np.array([[1.0, NAN], [2.0, NAN]])
    assert measure_usual(rows, ("a", "b")) == {MISSING_SHARE: (0.0, 0.5), "a": (1.0, 2.0)}
    assert missing_share(rows).tolist() == [0.5, 0.5]


def test_every_feature_of_code_health_has_the_range_of_its_definition() -> None:
    assert set(POSSIBLE) == {*NAMES, MISSING_SHARE}
    for feature in FEATURES:
        low, high = POSSIBLE[feature.name]
        if feature.unit == "share" and feature.name != "growth":
            assert (low, high) == (0, 1)
        elif feature.name in ("growth", "acceleration"):
            assert low is None
        else:
            assert low == 0
    assert all(set(names) <= set(POSSIBLE) for names in READS.values())


def test_counting_says_what_looking_closely_says() -> None:
    chance = np.random.default_rng(1)
    bounds = Bounds.read(RANGES, COLUMNS)
    said = []
    for _ in range(500):
        rows = chance.choice([-1.0, 0.0, 0.5, 1.0, 2.0, NAN], p=[0.04, 0.2, 0.4, 0.2, 0.06, 0.1], size=(2, 3))
        missing = int(np.isnan(rows).sum())
        said.append(bounds.hold(rows, 1))
        assert said[-1] == (not bounds.outside(rows).any() and missing <= 1)
    assert 0.2 < np.mean(said) < 0.8

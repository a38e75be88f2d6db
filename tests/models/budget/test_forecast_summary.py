import numpy as np

from models.budget.forecast_features import FEATURES
from models.budget.forecast_summary import SUMMARY, summarise


def test_a_household_is_the_mean_of_its_categories() -> None:
    rows = np.zeros((3, len(FEATURES)), np.float32)
    rows[:, FEATURES.index("spent")] = [1, 3, 7]
    rows[:, FEATURES.index("noise")] = [np.nan, 0.5, np.nan]
    first, second = (dict(zip(SUMMARY, row.tolist(), strict=True)) for row in summarise(rows, np.array([2, 1])))
    assert (first["categories"], first["spent"], first["noise"]) == (2, 2, 0.5)
    assert (second["categories"], second["spent"]) == (1, 7)
    assert np.isnan(second["noise"])
    np.testing.assert_allclose([first["missing_share"], second["missing_share"]], [0.5 / 34, 1 / 34], rtol=1e-6)

import numpy as np

from models.budget.anomaly_features import FEATURES
from models.budget.anomaly_history import History
from models.budget.anomaly_summary import SUMMARY, latest, summarise


def history(judged: list[int]) -> History:
    return History(["A"] * 4, np.arange(4), np.full(4, -5.0), np.array(judged))


def test_the_latest_transaction_stands_for_its_request() -> None:
    rows = np.arange(3 * len(FEATURES), dtype=np.float32).reshape(3, -1)
    found = latest([rows, rows[:1]], [history([1, 3, 2]), history([0])])
    np.testing.assert_array_equal(found, rows[[1, 0]])


def test_a_summary_has_the_features_that_it_names() -> None:
    row = np.arange(len(FEATURES), dtype=np.float32)[None]
    assert [FEATURES[int(place)] for place in summarise(row)[0]] == [*SUMMARY]

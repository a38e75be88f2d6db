import numpy as np

from models.budget.anomaly_features import features
from models.budget.anomaly_history import History
from models.budget.anomaly_reasons import Reason, reasons
from tests.models.budget.test_anomaly_features import USUAL, history_of


def reasons_of(history: History, at: int = -1) -> dict[str, Reason]:
    rows, evidence = features(history)
    return {reason["kind"]: reason for reason in reasons(history, rows, evidence, at % len(rows))}


def test_a_duplicate_names_its_original() -> None:
    rows = [*USUAL, ("CARTE 01/04 FNAC PARIS", -89.9, "2026-04-02"), ("CARTE 02/04 FNAC PARIS", -89.9, "2026-04-04")]
    found = reasons_of(history_of(rows))["duplicate"]
    assert (found["original"], found["days_apart"], found["similarity"]) == (len(USUAL), 2, 1.0)


def test_a_large_amount_says_what_is_usual_there_and_by_how_many_deviations_it_is_off() -> None:
    found = reasons_of(history_of([*USUAL, ("CARTE 01/04 CARREFOUR CITY LYON", -405.0, "2026-04-01")]))
    assert found["amount"]["usual_eur"] == 40.54 and found["amount"]["times_usual"] == 9.99  # 40.55 by logarithms
    assert found["amount"]["visits"] == 12 and found["amount"]["deviations"] > 5
    assert found["large"]["share_at_least_as_large"] == 0


def test_a_new_merchant_says_how_similar_the_nearest_known_one_is() -> None:
    found = reasons_of(history_of([*USUAL, ("CARTE 01/04 CRYPTEX MARKET", -40.0, "2026-04-01")]))
    assert set(found) == {"new_merchant"}
    assert found["new_merchant"]["history"] == 12 and found["new_merchant"]["similarity"] < 0.6


def test_a_burst_counts_what_happened_at_the_merchant_and_in_all() -> None:
    rows = USUAL + [("CARTE 31/03 CARREFOUR CITY LYON", -10.0 - k, "2026-04-01") for k in range(5)]
    found = reasons_of(history_of(rows, judged=5), at=0)["burst"]
    assert (found["count"], found["at_merchant"], found["days"]) == (5, 5, 2) and found["per_day"] < 1


def test_a_usual_payment_has_no_reasons() -> None:
    assert reasons_of(history_of([*USUAL, ("CARTE 01/04 CARREFOUR CITY LYON", -43.0, "2026-04-01")])) == {}


def test_the_first_payment_of_all_is_not_called_new() -> None:
    assert "new_merchant" not in reasons_of(History(["FNAC"], np.array([20_000]), np.array([-20.0]), np.array([0])))

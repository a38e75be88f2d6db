from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.budget.anomaly_features import FEATURES, PROFILE, REPETITION, Evidence, features
from models.budget.anomaly_history import History, merchant_keys


def history_of(rows: list[tuple[str, float, str]], judged: int = 1) -> History:
    """Return a history of (label, amount, day), the last ones judged."""
    days = np.array([row[2] for row in rows], "datetime64[D]").astype(np.int64)
    amounts = np.array([row[1] for row in rows])
    return History(merchant_keys([row[0] for row in rows]), days, amounts, np.arange(len(rows) - judged, len(rows)))


def last(rows: list[tuple[str, float, str]]) -> tuple[dict[str, float], Evidence]:
    found, evidence = features(history_of(rows))
    return dict(zip(FEATURES, found[0].tolist(), strict=True)), evidence


USUAL = [
    (f"CARTE {day:02d}/0{month} CARREFOUR CITY LYON", amount, f"2026-0{month}-{day:02d}")
    for month in (1, 2, 3)
    for day, amount in ((3, -41.2), (10, -38.5), (17, -45.0), (24, -39.9))
]


def test_the_groups_are_a_partition_of_the_features() -> None:
    assert set(REPETITION).isdisjoint(PROFILE) and FEATURES == REPETITION + PROFILE


def test_a_payment_made_twice_finds_its_original_though_the_label_differs() -> None:
    value, evidence = last(
        [*USUAL, ("CARTE 01/04 FNAC PARIS", -89.9, "2026-04-02"), ("CARTE 02/04 FNAC 75PARIS", -89.9, "2026-04-03")]
    )
    assert evidence.twin.tolist() == [len(USUAL)]
    assert value["twin"] > 0.8 and value["twin_days"] == 1 and value["twin_difference"] == 0


@pytest.mark.parametrize(
    "second",
    [
        ("CARTE 02/04 FNAC PARIS", -60.0, "2026-04-03"),  # another amount
        ("CARTE 02/04 FNAC PARIS", -89.9, "2026-04-20"),  # too late
        ("CARTE 02/04 BOULANGERIE PAUL", -89.9, "2026-04-03"),  # another merchant
        ("AVOIR CARTE 02/04 FNAC PARIS", 89.9, "2026-04-03"),  # money back
    ],
)
def test_what_only_looks_like_it_is_no_twin(second: tuple[str, float, str]) -> None:
    value, evidence = last([*USUAL, ("CARTE 01/04 FNAC PARIS", -89.9, "2026-04-02"), second])
    assert evidence.twin.tolist() == [-1] and value["twin"] == 0


def test_an_amount_is_held_against_the_merchants_own() -> None:
    usual, _ = last([*USUAL, ("CARTE 01/04 CARREFOUR CITY LYON", -43.0, "2026-04-01")])
    tenfold, evidence = last([*USUAL, ("CARTE 01/04 CARREFOUR CITY LYON", -430.0, "2026-04-01")])
    assert abs(usual["amount_vs_merchant"]) < 1 and tenfold["amount_vs_merchant"] > 5
    assert evidence.visits.tolist() == [12] and evidence.usual[0] == pytest.approx(40.5, abs=1)
    assert tenfold["amount_rank"] == 0 and tenfold["amount_vs_highest"] == pytest.approx(np.log(430 / 45), abs=1e-5)


def test_a_stranger_is_new_and_dissimilar() -> None:
    value, evidence = last([*USUAL, ("CARTE 01/04 CRYPTEX MARKET", -140.0, "2026-04-01")])
    assert value["merchant_new"] == 1 and value["new_words"] == 1 and value["merchant_similarity"] < 0.6
    assert np.isnan(evidence.usual).all()


def test_five_payments_in_a_day_are_a_burst_for_each_of_them() -> None:
    rows = USUAL + [("CARTE 31/03 CARREFOUR CITY LYON", -10.0 - k, "2026-04-01") for k in range(5)]
    found, evidence = features(history_of(rows, judged=5))
    bursts = found[:, FEATURES.index("burst_merchant")]
    assert evidence.burst_merchant.tolist() == [5] * 5 and (bursts > 5).all()
    calm, _ = last([*USUAL, ("CARTE 01/04 CARREFOUR CITY LYON", -10.0, "2026-04-01")])
    assert calm["burst_merchant"] < 2


def test_the_first_transaction_of_all_is_judged_too() -> None:
    found, evidence = features(history_of(USUAL[:1]))
    assert np.isfinite(found).all() and evidence.twin.tolist() == [-1]


def test_nothing_later_changes_what_is_said_of_a_payment_save_what_is_usual_for_the_user() -> None:
    rows = [*USUAL, ("CARTE 01/04 FNAC PARIS", -89.9, "2026-04-02")]
    later = [("CARTE 05/04 FNAC PARIS", -89.9, "2026-04-05"), ("CARTE 05/04 CRYPTEX", -500.0, "2026-04-06")]
    alone, _ = features(history_of(rows))
    history = history_of(rows + later)
    before, _ = features(History(history.keys, history.days, history.amounts, np.array([len(rows) - 1])))
    same = [k for k, name in enumerate(FEATURES) if name != "amount_vs_user"]
    assert np.array_equal(alone[:, same], before[:, same])


def test_rows_judged_together_are_judged_as_alone() -> None:
    history = history_of(USUAL, judged=len(USUAL))
    together, _ = features(history)
    for at in range(len(USUAL)):
        alone, _ = features(History(history.keys, history.days, history.amounts, np.array([at])))
        assert np.array_equal(alone[0], together[at])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CARTE 01/02 FNAC", "CHEQUE 12", "RETRAIT DAB 0102", "", "é€ \u0000", "VIR SEPA LOYER"]),
            st.floats(-1e9, 1e9, allow_nan=False),
            st.dates(date(1900, 1, 1), date(2199, 12, 31)).map(str),
        ),
        min_size=1,
        max_size=12,
    ),
    st.floats(0.1, 1e3),
)
def test_features_are_finite_and_have_no_currency(rows: list[tuple[str, float, str]], rate: float) -> None:
    rows = sorted(((a, b if abs(b) > 100 else 100.0, c) for a, b, c in rows), key=lambda row: row[2])
    history = history_of(rows, judged=len(rows))
    found, _ = features(history)
    assert found.shape == (len(rows), len(FEATURES)) and np.isfinite(found).all()
    converted, _ = features(History(history.keys, history.days, history.amounts * rate, history.judged))
    free = [k for k, name in enumerate(FEATURES) if name not in ("repeat_habit",)]  # counts equal cents
    np.testing.assert_allclose(converted[:, free], found[:, free], atol=2e-3)


TICKET = "CARTE RATP TICKET"
START = np.datetime64("2026-01-05")


def every(
    step: int, times: int, count: int, amount: float = -2.15, label: str = TICKET
) -> list[tuple[str, float, str]]:
    """Return `times` equal payments on each of `count` days, `step` apart."""
    return [(label, amount, str(START + step * at)) for at in range(count) for _ in range(times)]


def twins_of(rows: list[tuple[str, float, str]], judged: int) -> list[int]:
    rows = sorted(rows, key=lambda row: row[2])
    found: list[int] = features(history_of(rows, judged))[1].twin.tolist()
    return found


@pytest.mark.parametrize(
    ("step", "times", "count"), [(1, 2, 57), (1, 3, 30), (7, 2, 9), (31, 2, 7), (1, 1, 30), (7, 1, 10)]
)
def test_equal_payments_that_are_a_habit_are_no_duplicates(step: int, times: int, count: int) -> None:
    assert twins_of(every(step, times, count), times) == [-1] * times


def test_a_habit_goes_on_when_the_price_rises() -> None:
    dearer = [(TICKET, -2.3, str(START + 56))] * 2
    assert twins_of(every(1, 2, 56) + dearer, 2) == [-1, -1]


def test_more_than_the_habit_is_a_duplicate() -> None:
    found = twins_of(every(1, 2, 57) + [(TICKET, -2.15, str(START + 56))] * 3, 5)
    assert found[:2] == [-1, -1] and min(found[2:]) >= 0


@pytest.mark.parametrize(
    "rows",
    [
        [*every(7, 1, 9), (TICKET, -2.15, str(START + 57))],  # again a day later, where a week is usual
        [*every(20, 1, 5), (TICKET, -2.15, str(START + 80))],  # twice a day for the first time
        [*every(20, 2, 1), *every(20, 1, 5), (TICKET, -2.15, str(START + 80))],  # it has happened once
        [*every(1, 2, 40), *[("CARTE FNAC PARIS", -89.9, str(START + 40))] * 2],  # the habit is another merchant's
        [*every(1, 2, 40), *[(TICKET, -65.0, str(START + 40))] * 2],  # the habit is of another amount
    ],
)
def test_beside_a_habit_a_duplicate_is_found(rows: list[tuple[str, float, str]]) -> None:
    assert twins_of(rows, 1)[0] >= 0

import numpy as np
import pandas as pd
import pytest

from training.budget.synthetic.accounts import ANOMALIES, CATEGORIES, COLUMNS, Synthesis, generate
from training.budget.synthetic.bank_labels import STYLES

SMALL = Synthesis(users=12, months=14, seed=3, anomaly_share=0.02)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return generate(SMALL)


def test_a_row_is_a_transaction(frame: pd.DataFrame) -> None:
    assert tuple(frame.columns) == COLUMNS and list(CATEGORIES) == sorted(CATEGORIES)
    assert frame["date"].dtype == "datetime64[ns]" and frame["amount"].dtype == np.float64
    assert frame.equals(frame.sort_values(["user", "date"], kind="stable"))
    assert frame["label"].str.len().min() > 0 and np.isfinite(frame["amount"]).all() and (frame["amount"] != 0).all()
    assert frame["date"].between("2023-01-01", "2024-02-29").mean() > 0.999
    assert set(frame["category"]) == set(CATEGORIES) and set(frame["anomaly"]) == {"", *ANOMALIES}


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, generate(SMALL))
    assert not generate(Synthesis(12, 14, seed=4)).equals(frame)


def test_a_household_does_not_depend_on_how_many_others_there_are(frame: pd.DataFrame) -> None:
    alone = generate(Synthesis(2, 14, seed=3, anomaly_share=0.02))
    pd.testing.assert_frame_equal(alone, frame[frame["user"] <= "user-0001"].reset_index(drop=True))


def test_spending_follows_the_season() -> None:
    usual = generate(Synthesis(users=25, months=24, seed=1, anomaly_share=0))
    spent = usual.groupby(["category", usual["date"].dt.month])["amount"].sum().abs()
    assert spent["voyages"][[7, 8]].mean() > 2 * spent["voyages"][[9, 10, 11]].mean()
    assert spent["energie"][[1, 2, 12]].mean() > 1.2 * spent["energie"][[6, 7, 8]].mean()
    assert spent["enfants"][9] > 1.1 * spent["enfants"][[2, 3, 4]].mean()


def test_some_merchants_sell_in_several_categories_and_many_are_met_once(frame: pd.DataFrame) -> None:
    several = frame.groupby("merchant")["category"].nunique()
    assert several["Amazon"] >= 6 and several["Carrefour"] == 2
    assert (frame.groupby("merchant").size() == 1).mean() > 0.4


def test_only_the_banks_asked_for_write_labels() -> None:
    alone = generate(Synthesis(users=4, months=3, banks=("mutuelle",)))
    cards = alone["label"][alone["label"].str.startswith("PAIEMENT")]
    assert len(cards) > 20 and cards.str.match(r"PAIEMENT CB \d{4} ").all()


def test_every_bank_writes_every_operation() -> None:
    assert len({style.bank for style in STYLES}) == len(STYLES) >= 8
    assert all(len(style.templates) == 8 for style in STYLES)


def test_anomalies_are_as_many_as_asked_and_leave_the_rest_alone(frame: pd.DataFrame) -> None:
    share = (frame["anomaly"] != "").mean()
    assert 0.01 < share < 0.04
    duplicates = frame[frame["anomaly"] == "duplicate"]
    same = frame.groupby(["user", "merchant", "amount"]).size()
    assert all(same[row.user, row.merchant, row.amount] >= 2 for row in duplicates.itertuples())
    assert (generate(Synthesis(4, 4, anomaly_share=0))["anomaly"] == "").all()


@pytest.mark.parametrize("options", [Synthesis(users=0), Synthesis(months=0), Synthesis(banks=("no such bank",))])
def test_nonsense_is_refused_with_what_is_known(options: Synthesis) -> None:
    with pytest.raises(ValueError, match="expected users, months >= 1 and banks among"):
        generate(options)

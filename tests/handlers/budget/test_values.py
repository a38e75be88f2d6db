from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.budget import values
from handlers.budget.transactions import transactions
from handlers.errors import InvalidError
from models.budget.labels import LONGEST_LABEL


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("-12.50", -12.5),
        ("+7", 7.0),
        ("-12,50", -12.5),
        ("0.125", 0.125),
        ("1 234,56", 1234.56),
        ("1\u202f234\u00a0567,8", 1234567.8),
        ("1.234,56", 1234.56),
        ("1,234.56", 1234.56),
        ("1'234.50", 1234.5),
        ("-1.234.567", -1234567.0),
        ("1234.567", 1234.567),
        ("12,50 EUR", 12.5),
        ("€ -3.20", -3.2),
        ("\u22125,00", -5.0),
        ("12.50-", -12.5),
    ],
)
def test_a_string_that_means_one_amount_is_read(written: str, meant: float) -> None:
    assert values.amount({"amount": written}, "amount") == pytest.approx(meant)


@pytest.mark.parametrize("written", ["1,234", "-12.500", "999,999"])
def test_a_string_that_can_mean_two_amounts_is_refused_with_both(written: str) -> None:
    with pytest.raises(InvalidError) as caught:
        values.amount({"amount": written}, "amount")
    assert "which can mean either" in caught.value.received and '"' in caught.value.expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "-",
        "douze",
        "1e3",
        "12.50 USD",
        "$5",
        "1.2.3",
        "12 50",
        "--3",
        "-3-",
        "1,23,456",
        "12.",
        "nan",
        "inf",
        "1e999",
    ],
)
def test_a_string_that_is_no_amount_in_euros_is_refused(written: str) -> None:
    with pytest.raises(InvalidError, match="amount"):
        values.amount({"amount": written}, "amount")


@given(st.decimals(-(10**6), 10**6, places=2))
@settings(max_examples=60, deadline=None)
def test_every_amount_of_cents_is_read_as_banks_write_it(amount: Any) -> None:
    for written in (f"{amount:.2f}", f"{amount:.2f}".replace(".", ","), f"{amount:,.2f} EUR"):
        assert values.amount({"amount": written}, "amount") == pytest.approx(float(amount))


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-21",
        "2026-11-21T10:15:00+01:00",
        "2026-11-21T23:59:59Z",
        "2026-11-21T10:15:00.123456Z",
        "2026-11-21t10:15:00.5+0100",
        "2026-11-21 10:15",
    ],
)
def test_the_day_of_a_date_or_instant_is_the_one_it_shows(written: str) -> None:
    assert values.day({"date": written}, "date") == np.datetime64("2026-11-21")


@pytest.mark.parametrize(
    "written",
    [
        "21/11/2026",
        "2026-11",
        "2026-02-30",
        "2026-02-30T10:00Z",
        "2026-11-21T25:00",
        "2026-11-21Tnoon",
        1795250000,
        None,
        "",
    ],
)
def test_any_other_day_is_refused_with_what_to_send(written: Any) -> None:
    with pytest.raises(InvalidError, match="2026-11-21T10:15:00"):
        values.day({"date": written}, "date")


def test_a_list_of_psd2_bookings_is_read_as_the_plain_one() -> None:
    plain = [
        {"label": "CB PAUL", "amount": -12.5, "date": "2026-11-21"},
        {"label": "", "amount": 3.0, "date": "2026-11-22"},
    ]
    psd2 = [
        {"label": "CB PAUL", "amount": "-12.50", "date": "2026-11-21T10:15:00+01:00"},
        {"label": None, "amount": "3,00", "date": "2026-11-22T00:00:00Z"},
    ]
    one, other = (transactions({"transactions": rows}, "transactions", 10) for rows in (plain, psd2))
    assert (one.labels, one.dates) == (other.labels, other.dates)
    assert np.array_equal(one.amounts, other.amounts) and np.array_equal(one.days, other.days)


def test_a_long_label_is_taken_and_an_endless_one_refuses_by_its_place() -> None:
    rows = [{"label": "X" * count, "amount": -1, "date": "2026-11-21"} for count in (244, LONGEST_LABEL)]
    assert len(transactions({"history": rows}, "history", 10)) == 2
    rows.append({"label": "X" * (LONGEST_LABEL + 1), "amount": -1, "date": "2026-11-21"})
    with pytest.raises(InvalidError) as caught:
        transactions({"history": rows}, "history", 10)
    assert caught.value.field == "history[2].label"

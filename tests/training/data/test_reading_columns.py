"""One rule for a column of numbers or dates: shown by its rows or by other columns, given by a user, or refused."""

import string
from datetime import date, timedelta
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from training.data.quality import BadDataError
from training.data.reading import dates, numbers
from training.data.reading.columns import Column
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.data.reading.table import Table


def column(cells: list[str], kind: str, style: Style | None = None, folder: Path | None = None) -> Table:
    """Read one column of a parquet file, so that no separator is in the way."""
    assert folder is not None
    pd.DataFrame({"x": cells}).to_parquet(folder / "a.parquet")
    return TableReader(style).read(folder / "a.parquet", (Column("x", kind),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 234,56", 1234.56), ("1\u00a0234,56", 1234.56), ("1\u202f234,56", 1234.56), ("1.234,56", 1234.56),
        ("1'234,56", 1234.56), ("1\u2019234\u2019567,8", 1234567.8), ("-12,50", -12.5), ("\u221212,50", -12.5),
        ("12,50-", -12.5), ("(12,50)", -12.5), ("+12,50", 12.5), ("- 12,50 €", -12.5), ("€ -12,50", -12.5),
        ("-€12,50", -12.5), ("12,50 EUR", 12.5), ("EUR 12,50", 12.5), ("12,50€", 12.5), ("12,50 euros", 12.5),
        ("0,125", 0.125), (",5", 0.5), ("7", 7.0), ("(1.234,56 €)", -1234.56), ("12,50 € -", None), ("--1,5", None),
        ("1 23,4", None), ("1,234.5", None), ("12,50 EUR USD", None), ("(12,50", None), ("douze", None), ("1-2", None),
        ("12 %", None), ("01/02/2024", None),
    ],
)  # fmt: skip
def test_a_number_by_a_decimal_comma(text: str, value: float | None) -> None:
    found = numbers.NumberColumn(pd.Series(["1,5", text], dtype=str)).parse(",")
    assert (found.values[1] == value and not found.faults) if value is not None else list(found.faults) == [1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.56", 1234.56), ("1 234.56", 1234.56), ("1'234.56", 1234.56), ("1,234,567", 1234567.0),
        ("-12.50", -12.5), ("$1,234.50", 1234.5), ("-$12.50", -12.5), ("USD 12.50", 12.5), ("12.50-", -12.5),
        (".5", 0.5), ("1e-05", 1e-5), ("1.5E+3", 1500.0), ("-3.2e7", -3.2e7), ("1.234,5", None), ("1.2.3", None),
    ],
)  # fmt: skip
def test_a_number_by_a_decimal_point(text: str, value: float | None) -> None:
    found = numbers.NumberColumn(pd.Series(["1.5", text], dtype=str)).parse(".")
    assert (found.values[1] == value and not found.faults) if value is not None else list(found.faults) == [1]


@pytest.mark.parametrize(
    ("cells", "values", "words"),
    [
        (["1.234", "2,50"], [1234.0, 2.5], "decimal comma, thousands by point (1 rows, such as '2,50' in row 1)"),
        (["1.234", "2.50"], [1.234, 2.5], "decimal point"),
        (["1,234", "1,234,567"], [1234.0, 1234567.0], "decimal point, thousands by comma"),
        (["12", "-3"], [12.0, -3.0], "whole numbers"),
        (["0.125", "1.234"], [0.125, 1.234], "decimal point"),
        (["1 234", "5"], [1234.0, 5.0], "whole numbers, thousands by space"),
        (["12,50 €", "7,25 EUR"], [12.5, 7.25], "decimal comma, EUR"),
    ],
)
def test_all_rows_of_a_column_decide_its_decimal_mark(
    tmp_path: Path, cells: list[str], values: list[float], words: str
) -> None:
    table = column(cells, "number", folder=tmp_path)
    assert table.frame["x"].tolist() == values and not table.faults
    assert words in str(table.account)


@pytest.mark.parametrize("cells", [["1.234", "56"], ["1,234", "-2,500"], ["123.456 €"]])
def test_numbers_that_can_be_thousands_or_decimals_are_refused_until_a_user_decides(
    tmp_path: Path, cells: list[str]
) -> None:
    with pytest.raises(BadDataError, match=r"column 'x'.*in row 0.*--decimal , or --decimal \."):
        column(cells, "number", folder=tmp_path)
    comma, point = (column(cells, "number", Style(decimal=mark), tmp_path).frame["x"] for mark in (",", "."))
    assert (abs(comma.to_numpy() / point.to_numpy()).max() == 1000) or (abs(point / comma).max() == 1000)


def test_rows_with_another_mark_or_currency_than_the_rest_are_refused_by_row(tmp_path: Path) -> None:
    cells = [*["12,50 €"] * 30, "12.50 €", "7,00 USD", "abc", ""]
    table = column(cells, "number", folder=tmp_path)
    assert len(table.frame) == 30
    assert [(fault.index, fault.kind) for fault in table.faults] == [
        (30, "another decimal mark"), (31, "another currency"), (32, "no number"), (33, "empty cell"),
    ]  # fmt: skip
    assert "row 30, column 'x': expected a decimal comma as in the rest of the column, got '12.50 €'" in str(
        table.faults[0]
    )


def test_a_column_in_two_styles_by_halves_is_refused_until_a_user_decides(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"decimal comma in 5 rows \('1,5' in row 0\) and a decimal point in 5"):
        column(["1,5"] * 5 + ["1.5"] * 5, "number", folder=tmp_path)
    table = column(["1,5"] * 5 + ["1.5"] * 5, "number", Style(decimal=","), tmp_path)
    assert len(table.frame) == 5 == len(table.faults)


def test_another_column_of_the_file_shows_the_decimal_mark_and_the_order_of_days(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("d;e;n;m\n01/02/2024;31/01/2024;1.234;0,5\n")
    columns = (Column("d", "day"), Column("e", "day"), Column("n", "number"), Column("m", "number"))
    table = TableReader().read(tmp_path / "a.csv", columns)
    assert table.frame.iloc[0].tolist() == [pd.Timestamp("2024-02-01"), pd.Timestamp("2024-01-31"), 1234.0, 0.5]
    assert "d: DD/MM/YYYY (day first, as in the column 'e')" in str(table.account)
    assert "n: decimal comma, thousands by point (as in the column 'm')" in str(table.account)


@pytest.mark.parametrize(
    ("cells", "days", "words"),
    [
        (["01/02/2024", "31/01/2024"], ["2024-02-01", "2024-01-31"], "DD/MM/YYYY (day first: '31/01/2024' in row 1)"),
        (["01/02/2024", "01/31/2024"], ["2024-01-02", "2024-01-31"], "MM/DD/YYYY (month first"),
        (["1.2.2024", "13.2.2024"], ["2024-02-01", "2024-02-13"], "DD.MM.YYYY"),
        (["01-02-24", "31-01-23", "05-03-24"], ["2024-02-01", "2023-01-31", "2024-03-05"], "DD-MM-YY (day first"),
        (["02/02/2024", "03/03/2024"], ["2024-02-02", "2024-03-03"], "DD/MM/YYYY"),
        (["2024-01-31", "2024-02-01T23:30:00+05:00"], ["2024-01-31", "2024-02-01"], "YYYY-MM-DD"),
        (["2024/1/31"], ["2024-01-31"], "YYYY/MM/DD"),
        (["20240131", "20240201"], ["2024-01-31", "2024-02-01"], "YYYYMMDD"),
        (["45322", "45323,5"], ["2024-01-31", "2024-02-01"], "days of a spreadsheet"),
        (["1706659200"], ["2024-01-31"], "Unix time in s"),
        (["1706659200000"], ["2024-01-31"], "Unix time in ms"),
        (["31 janv. 2024", "1er août 2024"], ["2024-01-31", "2024-08-01"], "name of the month"),
        (["Jan 31, 2024", "February 1 2024"], ["2024-01-31", "2024-02-01"], "name of the month"),
        (["31-Déc-23"], ["2023-12-31"], "name of the month"),
        (["31/01/2024 14:05", "01/02/2024 9:00 PM"], ["2024-01-31", "2024-02-01"], "DD/MM/YYYY"),
    ],
)
def test_all_rows_of_a_column_decide_its_form_and_order(
    tmp_path: Path, cells: list[str], days: list[str], words: str
) -> None:
    table = column(cells, "day", folder=tmp_path)
    assert not table.faults and table.frame["x"].dt.strftime("%Y-%m-%d").tolist() == days
    assert words in str(table.account)


@pytest.mark.parametrize("cells", [["01/02/2024", "11/12/2024"], ["1.2.2024"], ["03-04-24", "05-06-24", "01/01/24"]])
def test_dates_that_can_be_day_or_month_first_are_refused_until_a_user_decides(
    tmp_path: Path, cells: list[str]
) -> None:
    with pytest.raises(BadDataError, match=r"column 'x'.*--day-first or --month-first"):
        column(cells, "day", folder=tmp_path)
    days = column(cells, "day", Style(day_first=True), tmp_path).frame["x"].dt
    months = column(cells, "day", Style(day_first=False), tmp_path).frame["x"].dt
    assert days.day.tolist() == months.month.tolist() and days.month.tolist() == months.day.tolist()


def test_two_digit_numbers_whose_first_looks_like_a_year_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="years with four digits"):
        column(["24/01/29", "24/01/30", "24/01/31"], "day", folder=tmp_path)


def test_rows_of_another_form_are_refused_by_row(tmp_path: Path) -> None:
    cells = ["31/01/2024"] * 30 + ["2024-01-31", "31/02/2024", "01/31/2024", "hier", "2024-13-45"]
    table = column(cells, "day", folder=tmp_path)
    assert len(table.frame) == 30 and {fault.index for fault in table.faults} == set(range(30, 35))
    assert [fault.kind for fault in table.faults] == [
        "another form of date", "no such day", "no such day", "no date", "another form of date",
    ]  # fmt: skip


def test_a_column_of_both_orders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"the day in 4 rows \('31/01/2024' in row 0\) and the month in 4 rows"):
        column(["31/01/2024"] * 4 + ["01/31/2024"] * 4, "day", folder=tmp_path)


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-31T12:00:00Z", "2024-01-31T14:00:00+01:00"],
        ["2024-01-31 12:00", "2024-01-31 13:00"],
        ["1706702400", "1706706000"],
        ["1706702400000", "1706706000000"],
        ["31/01/2024 12:00", "31/01/2024 13:00"],
        ["20240131120000", "20240131130000"],
    ],
)
def test_instants_of_any_form_are_the_same_in_utc(tmp_path: Path, cells: list[str]) -> None:
    wanted = pd.to_datetime(["2024-01-31 12:00", "2024-01-31 13:00"]).tz_localize("UTC")
    assert column(cells, "instant", folder=tmp_path).frame["x"].tolist() == wanted.tolist()
    native = column(wanted.tz_convert("Europe/Paris"), "instant", folder=tmp_path)
    assert native.frame["x"].tolist() == wanted.tolist()


MONTHS = ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.")
ANY_DAY = st.dates(date(2001, 1, 1), date(2068, 12, 31))
FORMS = {
    "DD/MM/YYYY": "%d/%m/%Y", "D.M.YYYY": "%-d.%-m.%Y", "DD-MM-YY": "%d-%m-%y", "MM/DD/YYYY": "%m/%d/%Y",
    "ISO": "%Y-%m-%d", "instant": "%Y-%m-%dT00:00:00Z", "compact": "%Y%m%d", "named": "",
    "serial": "", "epoch": "", "epoch ms": "",
}  # fmt: skip


def written_day(day: date, form: str) -> str:
    if form == "named":
        return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
    if form == "serial":
        return str((day - date(1899, 12, 30)).days)
    if form.startswith("epoch"):
        return str((day - date(1970, 1, 1)) // timedelta(seconds=1) * (1000 if form.endswith("ms") else 1))
    return day.strftime(FORMS[form])


def written_number(cents: int, mark: str, thousands: str, sign: str, currency: str) -> str:
    whole, rest = divmod(abs(cents), 100)
    body = f"{whole:,}".replace(",", thousands) + f"{mark}{rest:02d}"
    body = currency.replace("#", body)
    return (
        {"before": f"-{body}", "after": f"{body}-", "brackets": f"({body})", "minus": f"\u2212{body}"}[sign]
        if (cents < 0)
        else body
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_written_in_any_style_comes_back_equal(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever the encoding, separator, quotes, numbers and dates: equal rows, or refused as ambiguous."""
    mark = data.draw(st.sampled_from(",."))
    thousands = data.draw(st.sampled_from(["", " ", "\u00a0", "'", "\u2019", "." if mark == "," else ","]))
    sign = data.draw(st.sampled_from(["before", "after", "brackets", "minus"]))
    currency = data.draw(st.sampled_from(["#", "# €", "€#", "# EUR", "EUR #", "#€"]))
    form = data.draw(st.sampled_from(list(FORMS)))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]))
    separator, end = data.draw(st.sampled_from(",;\t|")), data.draw(st.sampled_from(["\n", "\r\n"]))
    label = st.text(string.ascii_letters + "éàœ ç,;|\"'.0123456789-", min_size=1, max_size=12).filter(
        lambda text: any(one.isalpha() for one in text)
    )
    rows = data.draw(st.lists(st.tuples(ANY_DAY, label, st.integers(-(10**9), 10**9)), min_size=1, max_size=12))
    if encoding == "cp1252" and sign == "minus":
        sign = "before"  # there is no such character
    cells = [
        (written_day(day, form), text, written_number(cents, mark, thousands, sign, currency))
        for day, text, cents in rows
    ]
    lines = [("Date", "Libellé", "Montant"), *cells]
    quoted = end.join(separator.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    path = tmp_path / "any.csv"
    path.write_bytes((quoted + end).encode(encoding))
    columns = (Column("date", "day"), Column("label", headings=("libellé",)), Column("amount", "number", ("montant",)))
    try:
        table = TableReader().read(path, columns)
    except BadDataError as error:
        assert {fault.kind for fault in error.faults} == {"ambiguous dates"}, str(error)
        assert all(day.day <= 12 for day, _, _ in rows) or form == "DD-MM-YY"
        order = Style(day_first=form != "MM/DD/YYYY")
        table = TableReader(order).read(path, columns)
    assert not table.faults, table.faults
    assert table.frame["date"].dt.date.tolist() == [day for day, _, _ in rows]
    assert table.frame["label"].tolist() == [text for _, text, _ in rows]
    assert table.frame["amount"].tolist() == [cents / 100 for _, _, cents in rows]


def test_many_rows_are_read_in_seconds(tmp_path: Path) -> None:
    """Not a measurement: a column that is gone through row by row would take minutes."""
    rng = np.random.default_rng(0)
    amounts = [f"{value:,.2f}".replace(",", " ").replace(".", ",") for value in rng.normal(0, 2000, 60_000)]
    days = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, len(amounts)), "D")
    frame = pd.DataFrame({"date": days.strftime("%d/%m/%Y"), "label": "CB LIDL", "amount": amounts})
    frame.to_csv(tmp_path / "a.csv", sep=";", index=False, encoding="cp1252")
    columns = (Column("date", "day"), Column("label"), Column("amount", "number"))
    assert len(TableReader().read(tmp_path / "a.csv", columns).frame) == 60_000


def test_the_wall_clock_and_the_zone_of_a_cell_are_kept_apart() -> None:
    found = dates.DateColumn(pd.Series(["2024-02-01T00:30:00+01:00"], dtype=str)).parse("YYYY-MM-DD", "day")
    assert str(found.walls[0])[:16] == "2024-02-01T00:30" and str(found.instants[0])[:16] == "2024-01-31T23:30"

"""A household's own file: whatever its bank exports is read without loss, or refused with what decides."""

from pathlib import Path

import pandas as pd
import pytest

from tests.training.budget import bank_exports
from tests.training.budget.bank_exports import LAYOUTS, STYLES, Row
from training.budget import user_tables
from training.data.quality import BadDataError
from training.data.reading.reader import TableReader
from training.data.reading.style import Style

EXPORTS = [(layout, STYLES[(at + turn) % len(STYLES)]) for turn in range(4) for at, layout in enumerate(LAYOUTS)]


def found(frame: pd.DataFrame) -> list[tuple[str, str, int]]:
    cents = (frame["amount"] * 100).round().astype(int)
    return sorted(zip(frame["date"].dt.strftime("%Y-%m-%d"), frame["label"], cents, strict=True))


def wanted(rows: list[Row]) -> list[tuple[str, str, int]]:
    return sorted((str(row.day), row.label, row.cents) for row in rows)


@pytest.mark.parametrize("number", range(len(EXPORTS)))
def test_an_export_is_read_without_loss(tmp_path: Path, number: int) -> None:
    layout, (encoding, separator, amount, day) = EXPORTS[number]
    rows = bank_exports.rows(60, number)
    (tmp_path / "bank.csv").write_bytes(layout(rows, amount, day, separator).encode(encoding, "replace"))
    reader = TableReader()
    frame, faults = user_tables.read(tmp_path / "bank.csv", reader=reader)
    assert not faults, faults[:3]
    assert found(frame) == wanted(rows)
    assert reader.accounts[0].rows == len(rows)


def test_forty_exports_are_forty_unlike_files(tmp_path: Path) -> None:
    rows = bank_exports.rows(60, 0)
    texts = {layout(rows, amount, day, separator).encode(code) for layout, (code, separator, amount, day) in EXPORTS}
    assert len(texts) == len(EXPORTS) == 40


@pytest.mark.parametrize("number", range(len(LAYOUTS)))
def test_days_that_could_be_months_are_refused_until_a_user_decides(tmp_path: Path, number: int) -> None:
    day, separator = (("%d/%m/%Y", ";"), ("%d.%m.%Y", "\t"), ("%m-%d-%Y", ","), ("%d/%m/%y", "|"))[number % 4]
    rows = bank_exports.rows(40, 1, days_to=11)
    text = LAYOUTS[number](rows, bank_exports.point(), bank_exports.day(day), separator)
    (tmp_path / "bank.csv").write_text(text)
    with pytest.raises(BadDataError, match="--day-first or --month-first"):
        user_tables.read(tmp_path / "bank.csv")
    style = Style(day_first=day.startswith("%d"))
    frame, faults = user_tables.read(tmp_path / "bank.csv", reader=TableReader(style))
    assert not faults and found(frame) == wanted(rows)


@pytest.mark.parametrize("amounts", [("-1.234", "5.678"), ("-1,234", "2,500"), ("-1.234 €", "12")])
def test_amounts_that_could_be_thousands_are_refused_until_a_user_decides(
    tmp_path: Path, amounts: tuple[str, ...]
) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("Date;Libellé;Montant\n" + "".join(f"2024-01-31;X;{amount}\n" for amount in amounts))
    with pytest.raises(BadDataError, match=r"column 'Montant'.*--decimal"):
        user_tables.read(path)
    for mark in (",", "."):
        assert len(user_tables.read(path, reader=TableReader(Style(decimal=mark)))[0]) == 2


def test_every_row_is_kept_or_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "bank.csv"
    good = "".join(f"{day}/01/2024;CB LIDL;-1 2{day:02d},50\n" for day in range(13, 29))
    bad = "31/02/2024;A;1,50\n01/02/2024;B;\n;C;1,50\n01/02/2024;;1,50\n2024-02-01;D;1,50\n01/02/2024;E;1.50\n01/02;F\n"
    path.write_bytes(("Date;Libellé;Montant\n" + good + bad).encode("cp1252"))
    reader = TableReader()
    frame, faults = user_tables.read(path, reader=reader)
    assert len(frame) == 16 and {fault.index for fault in faults} == set(range(16, 23))
    assert reader.accounts[0].rows == len(frame) + len({fault.index for fault in faults})
    assert all(fault.file == "bank.csv" and fault.detail.startswith("line ") for fault in faults)
    assert "column 'Montant': expected a decimal comma as in the rest of the column, got '1.50'" in str(faults[5])


def test_what_was_not_booked_or_is_in_another_currency_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "revolut.csv"
    path.write_text(
        "Completed Date,Description,Amount,Currency,State\n2024-01-31 10:00:00,A,-1.50,EUR,COMPLETED\n"
        "2024-01-31 10:00:00,B,-1.50,EUR,REVERTED\n2024-01-31 10:00:00,C,-1.50,USD,COMPLETED\n"
        "2024-01-30 10:00:00,D,-2.50,EUR,COMPLETED\n"
    )
    frame, faults = user_tables.read(path)
    assert frame["label"].tolist() == ["D", "A"]
    assert [(fault.index, fault.kind) for fault in faults] == [(1, "not booked"), (2, "another currency")]


def test_both_or_neither_of_debit_and_credit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("Date;Libellé;Débit;Crédit\n2024-01-31;A;1,50;0,00\n2024-01-31;B;1,5;2,5\n2024-01-31;C;;\n")
    frame, faults = user_tables.read(path)
    assert frame["amount"].tolist() == [-1.5]
    assert {fault.index: fault.kind for fault in faults} == {1: "debit and credit", 2: "no amount"}


def test_a_folder_of_exports_is_read_whole_each_in_its_own_style(tmp_path: Path) -> None:
    first, second = bank_exports.rows(40, 1), bank_exports.rows(40, 2)
    for name, rows, (encoding, separator, amount, day) in (("a.csv", first, STYLES[1]), ("b.csv", second, STYLES[3])):
        text = bank_exports.generic_french(rows, amount, day, separator)
        (tmp_path / name).write_bytes(text.encode(encoding))
    frame, faults = user_tables.read(tmp_path)
    assert not faults and found(frame) == wanted(first + second)


def test_own_columns_are_kept_and_an_amount_that_is_never_negative_is_remarked_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("user,date,label,amount,catégorie\n007,2024-01-31,A,1.50,Mes courses\n007,2024-01-30,B,2.50,\n")
    reader = TableReader()
    frame, _ = user_tables.read(path, reader=reader)
    assert frame["category"].tolist() == ["", "Mes courses"] and frame["user"].tolist() == ["007", "007"]
    assert "no amount is negative" in str(reader.accounts[0])

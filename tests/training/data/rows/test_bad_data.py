"""Kinds of bad data: each is read rightly, or refused by file, row and reason; no row is lost without a word."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import BAD_ROWS, RAW_ROWS
from training.data.reading.style import Style
from training.data.rows.importer import import_path
from training.family import families

NOW = 1_795_000_000.0  # November 2026
HEAD = "designation;description;prdtypecode\n"
TWO = HEAD + "Théière émaillée;bleue;10\nŒuvre d'art;;20\n"
READ = ["Théière émaillée", "Œuvre d'art"]
BANK = "Date;Libellé;Montant\n"
CANDLES = "asset,date,open,high,low,close\n"


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, TWO)
    return packed.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    packed = io.BytesIO()
    frame.to_parquet(packed, index=False)
    return packed.getvalue()


@dataclass(frozen=True)
class Case:
    """A file, and what is to become of it: values of a column, and faults as row, kind and a part of the reason."""

    what: str
    content: bytes | str
    column: str = "designation"
    values: Sequence[object] = field(default_factory=list)
    faults: list[tuple[int | None, str, str]] = field(default_factory=list)
    repeated: int = 0
    family: str = "catalog"
    name: str = "shop.csv"
    style: Style = field(default_factory=Style)


CASES = [
    # read rightly
    Case("cp1252", TWO.encode("cp1252"), values=READ),
    Case("utf-8 with a mark", TWO.encode("utf-8-sig"), values=READ),
    Case("utf-16 with a mark", TWO.encode("utf-16"), values=READ),
    Case("utf-16 without a mark", TWO.encode("utf-16-le"), values=READ),
    Case("gzip", gzip.compress(TWO.encode()), values=READ, name="shop.csv.gz"),
    Case("bzip2 by another name", bz2.compress(TWO.encode()), values=READ),
    Case("xz", lzma.compress(TWO.encode()), values=READ, name="shop.csv.xz"),
    Case("zip of one table", zipped("shop.csv"), values=READ, name="shop.csv.zip"),
    Case("tabulators and line ends of Windows", TWO.replace(";", "\t").replace("\n", "\r\n"), values=READ),
    Case("lines before the heading", "Boutique\nExport du 01/02/2026\n\n" + TWO, values=READ),
    Case("headings in another language", TWO.replace("designation", "Titre"), values=READ),
    Case("quoted separators and line breaks", HEAD + '"a ; b";"two\nlines";10\n', values=["a ; b"]),
    Case("codes as decimals", HEAD + "a;;10.0\nb;;20.0\n", "prdtypecode", ["10", "20"]),
    Case("repeated rows", TWO + "Œuvre d'art;;20\n" * 3, values=READ, repeated=3),
    Case("decimal commas, DD/MM dates", BANK + "31/01/2025;CAFÉ;-12,50\n01/02/2025;PAIN;-1,05\n",
         "amount", [-12.5, -1.05], family="budget"),
    Case("no-break thousands and a currency",
         BANK + "31/01/2025;LOYER;-1\u00a0045,15 €\n01/02/2025;PAIE;2\u202f669,48 €\n", "amount",
         [-1045.15, 2669.48], family="budget"),
    Case("minus signs of typography and brackets", BANK + "31/01/2025;A;\u221212,50\n01/02/2025;B;(3,25)\n",
         "amount", [-12.5, -3.25], family="budget"),
    Case("DD/MM dates that only an option decides", BANK + "01/02/2025;A;-1,50\n", "date", ["2025-02-01"],
         family="budget", style=Style(day_first=True)),
    Case("debit and credit", "Date;Libellé;Débit;Crédit\n31/01/2025;A;12,50;\n01/02/2025;B;;3,00\n",
         "amount", [-12.5, 3.0], family="budget"),
    Case("two equal coffees of a day", BANK + "31/01/2025;CAFÉ;-2,50\n" * 2, "amount", [-2.5, -2.5], family="budget"),
    Case("a time with a zone", CANDLES + "BTC,2025-01-31T02:00:00+02:00,1,2,1,2\n", "date", ["2025-01-31T00:00:00Z"],
         family="market", name="ohlcv_1h.csv"),
    Case("parquet with a missing number", parquet(pd.DataFrame({"designation": ["a", "b"], "description": [None, "c"],
         "prdtypecode": [10, 20]})), "description", ["", "c"], name="shop.parquet"),
    # refused by row
    Case("a wrong type", HEAD + "a;;10\nb;;ten\n", values=["a"], faults=[(1, "str_matches", "line 3")]),
    Case("an empty title", HEAD + "a;;10\n;x;20\n", values=["a"],
         faults=[(1, "str_length", "designation"), (1, "str_matches", "designation")]),
    Case("an empty code", HEAD + "a;;10\nb;c;\nd;;10\n", values=["a", "d"],
         faults=[(1, "empty cell", "expected a text")]),
    Case("a row that is too short", HEAD + "a;;10\nb;10\nc;;30\n", values=["a", "c"], faults=[(1, "", "line 3")]),
    Case("a row that is too long", HEAD + "a;;10\nb;;10;7;8\n", values=["a"], faults=[(1, "", "line 3")]),
    Case("stray bytes in UTF-8", TWO.encode() + b"caf\xe9;;30\n", values=READ, faults=[(2, "", "line 4")]),
    Case("no such day", BANK + "28/02/2025;A;-1,50\n31/02/2025;B;-2,50\n", "amount", [-1.5],
         [(1, "no such day", "31/02/2025")], family="budget"),
    Case("a future day", BANK + "28/02/2025;A;-1,50\n31/12/2031;B;-2,50\n", "amount", [-1.5],
         [(1, "in the future", "2031-12-31")], family="budget"),
    Case("text for an amount", BANK + "28/02/2025;A;-1,50\n27/02/2025;B;n/c\n", "amount", [-1.5],
         [(1, "", "n/c")], family="budget"),
    Case("an amount beyond reason", BANK + "28/02/2025;A;-1,50\n27/02/2025;B;99999999999,00\n", "amount", [-1.5],
         [(1, "in_range", "line 3")], family="budget"),
    Case("another currency", BANK.replace("\n", ";Devise\n") + "28/02/2025;A;-1,50;EUR\n" * 2
         + "27/02/2025;B;-2,50;USD\n",
         "amount", [-1.5, -1.5], [(2, "another currency", "EUR")], family="budget"),
    Case("two prices of one hour", CANDLES + "BTC,2025-01-31 00:00,1,2,1,2\nBTC,2025-01-31 00:00,1,3,1,3\n"
         "BTC,2025-01-31 01:00,1,2,1,2\n", "close", [2.0],
         [(0, "contradicts", "2 that differ"), (1, "contradicts", "2 that differ")],
         family="market", name="ohlcv_1h.csv"),
    Case("half an hour, a price of zero", CANDLES + "BTC,2025-01-31 00:30,1,2,1,2\n"
         "BTC,2025-01-31 01:00,0,2,0,2\nBTC,2025-01-31 02:00,1,2,1,2\n", "close", [2.0],
         [(0, "not a whole hour", "line 2"), (1, "not positive", "line 3"), (1, "not positive", "line 3")],
         family="market", name="ohlcv_1h.csv"),
    # refused as a whole
    Case("an empty file", b"", faults=[(None, "unreadable file", "an empty file")]),
    Case("a heading alone", HEAD, faults=[(None, "no rows", "expected rows")]),
    Case("a missing column", "designation;description\na;b\n", faults=[(None, "missing column", "prdtypecode")]),
    Case("truncated gzip", gzip.compress(TWO.encode() * 50)[:-20], faults=[(None, "unreadable file", "whole file")]),
    Case("an Excel workbook", zipped("[Content_Types].xml", "xl/a.xml"), faults=[(None, "unreadable file", "CSV")]),
    Case("a zip of two tables", zipped("a.csv", "b.csv"), faults=[(None, "unreadable file", "2 files")]),
    Case("a page of HTML", "<!DOCTYPE html><table><tr><td>1</td></tr></table>", faults=[(None, "unreadable", "HTML")]),
    Case("JSON", '[{"designation": "a"}]', faults=[(None, "unreadable file", "JSON")]),
    Case("truncated parquet", parquet(pd.DataFrame({"a": [1]}))[:-9], faults=[(None, "unreadable file", "")]),
    Case("dates of two meanings", BANK + "01/02/2025;A;-1,50\n03/04/2025;B;-2,50\n", "amount",
         faults=[(None, "ambiguous dates", "--day-first")], family="budget"),
    Case("numbers of two meanings", BANK + "31/01/2025;A;-1.234\n30/01/2025;B;-2.345\n", "amount",
         faults=[(None, "ambiguous numbers", "--decimal")], family="budget"),
    Case("nothing but bad rows", HEAD + "a;;x\nb;;y\n", faults=[(0, "str_matches", "line 2"), (1, "", "line 3")]),
]  # fmt: skip


def test_there_are_as_many_kinds_as_are_promised() -> None:
    assert len({case.what for case in CASES}) == len(CASES) >= 45


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what.replace(" ", "_"))
def test_bad_data_is_read_rightly_or_refused_with_file_row_and_reason(
    empty: Database, tmp_path: Path, case: Case
) -> None:
    file = tmp_path / case.name
    file.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    (done,) = import_path(empty, case.family, file, case.style, NOW)
    with empty.reading() as connection:
        contents = connection.execute(sa.select(RAW_ROWS.c.content)).scalars().all()
        bad = connection.execute(
            sa.select(BAD_ROWS.c.source, BAD_ROWS.c.row, BAD_ROWS.c.kind, BAD_ROWS.c.reason).order_by(BAD_ROWS.c.number)
        ).all()
    values = [json.loads(content)[case.column] for content in contents]
    assert sorted(map(str, values)) == sorted(map(str, case.values))
    assert {one.source for one in bad} <= {case.name}
    assert [one.row for one in bad] == [row for row, _, _ in case.faults], bad
    for one, (_, kind, reason) in zip(bad, case.faults, strict=True):
        assert kind in one.kind and reason in one.reason, one
    assert done.state == ("done" if case.values else "refused")
    if case.values:  # every row of the file is accounted for
        assert (done.rows, done.repeated) == (done.added + done.repeated + done.bad, case.repeated)
    else:
        assert done.rows >= done.bad
    assert (done.added, done.bad) == (len(case.values), len({row for row, _, _ in case.faults} - {None}))


def test_lines_that_are_no_rows_are_in_the_account(empty: Database, tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("Boutique\n" + TWO + "Total;;\n")
    (done,) = import_path(empty, "catalog", file, Style(), NOW)
    assert (done.rows, done.added) == (2, 2)
    assert "left out: 1 x line before the heading" in done.account and "'Total'" in done.account


@pytest.mark.parametrize("family", families("raw_rows"))
def test_a_file_of_noise_is_refused(empty: Database, tmp_path: Path, family: str) -> None:
    file = tmp_path / "noise.csv"
    file.write_bytes(bytes(range(256)) * 8)
    (done,) = import_path(empty, family, file, Style(), NOW)
    assert (done.state, done.added) == ("refused", 0)

"""Files as they come: packed, encoded, with lines before and after the table, and damaged."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from training.data.quality import BadDataError
from training.data.reading.columns import Column, simplify
from training.data.reading.encodings import find_tables, stem
from training.data.reading.reader import TableReader
from training.data.reading.table import Table

COLUMNS = (Column("date", "day"), Column("label", headings=("libellé",)), Column("amount", "number", ("montant",)))
TEXT = "date;libellé;montant\n31/01/2024;CAFÉ DE L'ŒUVRE;-12,50 €\n01/02/2024;Noël;3,00 €\n"


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__MACOSX/._a.csv", b"x")
        archive.writestr("a.csv", content)
    return packed.getvalue()


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return bytes(packed.getvalue())


def read(tmp_path: Path, content: bytes | str, name: str = "a.csv") -> tuple[Table, str]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reader = TableReader()
    return reader.read(path, COLUMNS), str(reader.accounts[0])


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8 with a byte order mark"), ("cp1252", "cp1252"),
        ("utf-16", "UTF-16 LE"), ("utf-16-le", "UTF-16 LE without"), ("utf-16-be", "UTF-16 BE without"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_separators_and_line_ends_make_no_difference(
    tmp_path: Path, encoding: str, words: str, separator: str, end: str
) -> None:
    table, account = read(tmp_path, TEXT.replace(";", separator).replace("\n", end).encode(encoding))
    assert table.frame["label"].tolist() == ["CAFÉ DE L'ŒUVRE", "Noël"]
    assert table.frame["amount"].tolist() == [-12.5, 3.0] and not table.faults
    assert words in account and "separated by" in account and "2 rows" in account


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped, zstd])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "EXPORT"])
def test_a_packed_file_is_known_by_its_content(tmp_path: Path, pack: Callable[[bytes], bytes], name: str) -> None:
    assert len(read(tmp_path, pack(TEXT.encode("cp1252")), name)[0].frame) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "expected a whole file"),
        (b"\x89PNG\r\n\x1a\n...", "a picture"),
        (b"\xd0\xcf\x11\xe0....", "an old Excel workbook"),
        (b"%PDF-1.7", "a PDF"),
        (b"<html><table>", "HTML"),
        (b'[{"date": 1}]', "JSON"),
        (b"", "an empty file"),
        (b" \n\n", "an empty file"),
        (b"PAR1 no", "unreadable file"),
        (b"a;b;c\n1;2;3\n", "missing column date"),
    ],
)
def test_what_is_no_table_is_refused_with_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadDataError, match=words):
        read(tmp_path, content)


def test_a_zip_of_several_files_or_of_a_workbook_is_refused(tmp_path: Path) -> None:
    for names, words in ((("a.csv", "b.csv"), "a zip of 2 files"), (("[Content_Types].xml",), "an Excel workbook")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, TEXT)
        with pytest.raises(BadDataError, match=words):
            TableReader().read(tmp_path / "a.zip", COLUMNS)


def test_stray_bytes_in_a_utf_8_file_cost_their_rows_alone(tmp_path: Path) -> None:
    rows = "".join(f"0{day}/02/2024;Épicerie;-{day},25\n" for day in range(1, 10)) + "31/01/2024;x;1,00\n"
    content = ("date;libellé;montant\n" + rows).encode() + "31/01/2024;Café;-1,00\n".encode("cp1252")
    table, account = read(tmp_path, content)
    assert table.frame["label"].tolist() == ["Épicerie"] * 9 + ["x"] and "1 stray bytes" in account
    assert [(fault.index, fault.kind) for fault in table.faults] == [(10, "stray bytes")]


def test_lines_before_and_after_the_table_are_left_out_and_described(tmp_path: Path) -> None:
    before = "Téléchargement du 01/03/2024;\n\nM. DUPONT\nSolde au 01/03/2024;1 234,56 €\n\n"
    after = "\nTotal;;-9,50\nDocument sans valeur contractuelle\n"
    table, account = read(tmp_path, before + TEXT + after)
    assert len(table.frame) == 2 and not table.faults and table.place(0) == "line 7"
    assert "left out: 5 x line before the heading" in account
    assert "left out after the table: 'Total;-9,50'" in account and "Document sans valeur" in account


def test_a_payment_that_begins_like_a_total_is_a_row(tmp_path: Path) -> None:
    table, _ = read(tmp_path, "label;date;amount\nCB X;31/01/2024;-1.50\nTOTAL ACCESS;31/01/2024;-50.00\n")
    assert table.frame["label"].tolist() == ["CB X", "TOTAL ACCESS"]


def test_ragged_rows_are_refused_by_line_and_the_others_kept(tmp_path: Path) -> None:
    text = "date,label,amount,note\n2024-01-31,a,1.50,x\n2024-01-31,b,-12,50,x\n2024-01-31,c\n2024-01-31,d,2.25\n"
    table, _ = read(tmp_path, text + "2024-01-31,e,3.5")
    assert table.frame["label"].tolist() == ["a", "d"] and table.account.rows == 5
    assert [fault.index for fault in table.faults] == [1, 2, 4]  # the last was cut: it may have been -13.50
    assert "line 3: expected 4 cells as the heading has, got 5" in str(table.faults[0])
    assert "2024-01-31,b,-12,50,x" in str(table.faults[0])


def test_quoted_cells_may_hold_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    text = 'date;libellé;montant\n31/01/2024;"a;""b""\r\nc";-1,50\n31/01/2024;"écran 5""";2,50\n'
    table, _ = read(tmp_path, text)
    assert table.frame["label"].tolist() == ['a;"b"\r\nc', 'écran 5"'] and table.place(1) == "line 4"


@pytest.mark.parametrize("after", [0, 3, 1000])
def test_a_quote_that_nothing_closes_costs_its_row_alone(tmp_path: Path, after: int) -> None:
    good = '31/01/2024;"sound";1,50\n'
    table, _ = read(tmp_path, f'date;libellé;montant\n{good}31/01/2024;"open;-1,50\n{good * after}')
    assert table.account.rows == 2 + after == len(table.frame) + len(table.faults)
    assert [fault.index for fault in table.faults] == [1] and table.frame["label"].eq("sound").all()


def test_two_files_joined_with_their_headings_are_one(tmp_path: Path) -> None:
    table, account = read(tmp_path, TEXT + "\n" + TEXT)
    assert len(table.frame) == 4 and not table.faults
    assert "1 x line that repeats the heading" in account and "1 x line without a value" in account


def test_a_heading_that_stands_twice_is_refused_only_if_the_columns_differ(tmp_path: Path) -> None:
    same = "date;libellé;montant;Libelle\n31/01/2024;a;1,50;a\n"
    assert len(read(tmp_path, same)[0].frame) == 1
    with pytest.raises(BadDataError, match="got 2 that differ"):
        read(tmp_path, same.replace("1,50;a", "1,50;b"))


def test_what_is_left_out_of_the_columns_is_named(tmp_path: Path) -> None:
    assert "not used: Solde, Référence" in read(tmp_path, TEXT.replace("montant", "montant;Solde;Référence"))[1]


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_identifiers_stay_text(tmp_path: Path, dtype: str) -> None:
    columns = (Column("id"), Column("n", "number"))
    (tmp_path / "a.csv").write_text("id,n\n0042,1\n123.0,2\n007,3\n")
    assert TableReader().read(tmp_path / "a.csv", columns).frame["id"].tolist() == ["0042", "123.0", "007"]
    frame = pd.DataFrame({"id": pd.Series([42, 7]).astype(dtype), "n": 1})
    frame.to_parquet(tmp_path / "a.parquet")
    assert TableReader().read(tmp_path / "a.parquet", columns).frame["id"].tolist() == ["42", "7"]


def test_parquet_is_read_like_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Date": ["31/01/2024"], "LIBELLE": ["a"], "Montant (EUR)": ["1 234,50"]})
    frame.to_parquet(tmp_path / "a.parquet")
    table = TableReader().read(tmp_path / "a.parquet", COLUMNS)
    assert table.frame.to_dict("list") == {"date": [pd.Timestamp("2024-01-31")], "label": ["a"], "amount": [1234.5]}


def test_headings_are_known_without_case_accents_spaces_and_currency() -> None:
    for heading in ("Débit euros", " DEBIT (€)", "debit", "Débit  (EUR)", "Débit"):
        assert simplify(heading) == "debit"
    assert simplify("Montant(FRANCS)") != simplify("Montant(EUROS)") == "montant"
    assert simplify("EUR") == "eur" and simplify("Date de l'opération") == simplify("date_de_l_operation")


def test_tables_of_a_folder_are_found_by_their_endings(tmp_path: Path) -> None:
    for name in ("b.CSV", "a.csv.zst", "notes.md", "c.parquet", "d.tsv.xz"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_tables(tmp_path)] == ["a.csv.zst", "b.CSV", "c.parquet", "d.tsv.xz"]
    assert stem("candles.csv.gz") == "candles" == stem("candles.PARQUET")
    with pytest.raises(FileNotFoundError, match="expected a table"):
        find_tables(tmp_path / "missing.csv")

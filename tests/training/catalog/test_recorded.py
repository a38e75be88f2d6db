import gzip
from pathlib import Path

import pytest

from training.catalog.recorded import read
from training.data.quality import BadDataError

HEADER = "designation,description,prdtypecode\n"


def written(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_products_are_read_with_their_codes(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv.gz", HEADER + 'Piscine,"ronde, bleue",2583\nNA,,10\n')
    frame, faults = read(file)
    assert frame.to_dict("list") == {
        "designation": ["Piscine", "NA"], "description": ["ronde, bleue", ""], "code": ["2583", "10"]
    }  # fmt: skip
    assert faults == []


def test_a_text_stands_in_for_a_missing_designation(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", "designation,description,text,prdtypecode\n,,Carnet A4 -,2522\nX,y,X y,10\n")
    assert read(file)[0]["designation"].tolist() == ["Carnet A4", "X"]


def test_bad_rows_are_skipped_by_number_or_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", HEADER + "Piscine,,2583\n,,10\n!!!,,10\nLivre,,dix\n")
    frame, faults = read(file)
    assert frame["designation"].tolist() == ["Piscine"]
    assert {fault.index for fault in faults} == {1, 2, 3}
    with pytest.raises(BadDataError, match=r"a\.csv"):
        read(file, on_bad="refuse")


@pytest.mark.parametrize("text", ["", "designation,description\na,b\n", "\x00\x01"])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadDataError):
        read(written(tmp_path / "a.csv", text))


def test_a_folder_is_read_whole_and_an_empty_one_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\.csv"):
        read(tmp_path)
    for name in ("a.csv", "b.csv.gz"):
        written(tmp_path / name, HEADER + "Piscine,,2583\n")
    assert len(read(tmp_path)[0]) == 2

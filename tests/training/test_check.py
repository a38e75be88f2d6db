"""`scripts/train.py FAMILY --data FILE --check`: how a file would be read, and nothing else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.code_health.features import NAMES
from scripts import train
from tests.families.signflow import frames_of

BANK = "Date;Libellé;Débit;Crédit\n31/01/2024;CAFÉ;1 012,50;\n30/01/2024;PAIE;;2 000,00\n29/01/2024;X;1.50;\n" + (
    "28/01/2024;LIDL;3,75;\n" * 20
)


def check(capsys: pytest.CaptureFixture[str], family: str, path: Path, *options: str) -> tuple[int, str]:
    status = train.main([family, "--data", str(path), "--check", *options])
    return status, capsys.readouterr().out


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_bank_s_file_is_described_column_by_column_and_refused_rows_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: Path
) -> None:
    (tmp_path / "bank.csv").write_bytes(BANK.encode("cp1252"))
    status, shown = check(capsys, "budget", tmp_path / "bank.csv")
    assert status == 1 and not state.exists()
    for words in (
        "bank.csv: cp1252, separated by semicolon, heading in line 1, 23 rows",
        "date ('Date'): DD/MM/YYYY (day first: '31/01/2024' in line 2)",
        "debit ('Débit'): decimal comma, thousands by space",
        "22 of 23 rows kept",
        "1 x another decimal mark",
        "line 4, column 'Débit': expected a decimal comma as in the rest of the column, got '1.50'",
        "too little to train on: expected at least 40 transactions with a category, got 0; tag some more",
        "nothing was trained",
    ):
        assert words in shown
    assert check(capsys, "budget", tmp_path / "bank.csv", "--on-bad", "refuse")[0] == 1


def test_what_is_ambiguous_fails_until_an_option_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("date,label,amount\n01/02/2024,X,-1.234\n03/04/2024,Y,-5.678\n")
    status, shown = check(capsys, "budget", path)
    assert status == 1 and "--day-first or --month-first" in shown and "--decimal" in shown
    status, shown = check(capsys, "budget", path, "--month-first", "--decimal", ".")
    assert status == 1 and "MM/DD/YYYY (as --month-first says)" in shown and "(as --decimal says)" in shown


def test_the_other_families_of_tables_take_the_same_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hours = [f"0{1 + at // 12}/0{2 + at % 2}/2024 {at % 12:02d}:00" for at in range(24)]
    rows = [f"{asset};{hour};1,5;2,5;0,5;1,5" for asset in ("BTC", "ETH", "SOL") for hour in hours]
    (tmp_path / "candles.csv").write_text("\n".join(["symbol;timestamp;open;high;low;close", *rows]))
    assert check(capsys, "market", tmp_path / "candles.csv")[0] == 1
    status, shown = check(capsys, "market", tmp_path / "candles.csv", "--day-first")
    assert status == 0 and "72 of 72 rows kept" in shown and "decimal comma" in shown

    (tmp_path / "products.csv").write_bytes("Désignation|description|code\nCafé|moulu|0042\n".encode("utf-16"))
    status, shown = check(capsys, "catalog", tmp_path / "products.csv", "--decimal", ",")
    assert status == 0 and "UTF-16 LE" in shown and "1 of 1 rows kept" in shown

    features = pd.DataFrame(np.full((3, len(NAMES)), 0.5), columns=list(NAMES))
    features = features.assign(project="p", kind="commit", moment=["01/02/2024", "03/04/2024", "05/06/2024"])
    features.to_csv(tmp_path / "features.csv", sep=";", decimal=",", index=False)
    assert check(capsys, "code_health", tmp_path / "features.csv")[0] == 1
    status, shown = check(capsys, "code_health", tmp_path / "features.csv", "--day-first")
    assert status == 0 and "3 of 3 rows kept" in shown


def test_signing_is_checked_by_its_own_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.concatenate([frames_of(5, seed) for seed in range(3)])
    np.savez(tmp_path / "a.npz", X=frames, len=np.full(3, 5), y=np.array(["no", "yes", "?"]))
    status, shown = check(capsys, "signflow", tmp_path / "a.npz")
    assert status == 0 and "2 examples" in shown and "a.npz[2]: unknown label" in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "an empty file"), (b"a,b\n1,2\n", "missing column date"), (b"Date;Montant\n31/01/2024;1,5\n", "label")],
)
def test_what_cannot_be_read_fails_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    (tmp_path / "bank.csv").write_bytes(content)
    status, shown = check(capsys, "budget", tmp_path / "bank.csv")
    assert status == 1 and words in shown and "Traceback" not in shown


def test_there_is_nothing_to_check_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["budget", "--check"]) == 2
    assert train.main(["budget", "--check", "--data", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().out.replace("\n", "")

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.budget import recorded as budget_recorded
from training.budget.categorizer.cross_validation import WAYS, by_card, by_time, cross_validate, markdown
from training.data.quality import BadDataError

COLUMNS = ("card", "date", "merchant", "amount", "unit", "category", "statement", "repeat_in_statement")


def written(path: Path, rows: int = 400, **changed: object) -> Path:
    """Write made-up card payments."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=rows)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 300, rows)), "D")
    frame = pd.DataFrame(
        {
            "card": [f"c{at}" for at in rng.integers(8, size=rows)],
            "date": days.strftime("%Y-%m-%d"),
            "merchant": [f"{('shell', 'tesco', 'amazon')[kind]} {rng.integers(9)}" for kind in kinds],
            "amount": rng.lognormal(3, 1, rows),
            "unit": "a school",
            "category": [("fuel", "food", "books")[kind] for kind in kinds],
            "statement": days.strftime("%Y-%m"),
            "repeat_in_statement": 0,
        }
    ).assign(**changed)
    frame.to_parquet(path)
    return path


def test_rows_come_out_as_the_generators(tmp_path: Path) -> None:
    frame, faults = budget_recorded.read(written(tmp_path / "card_transactions.parquet"), least=5)
    assert tuple(frame.columns) == budget_recorded.COLUMNS and not faults and len(frame) == 400
    assert (frame["amount"] < 0).all() and frame["date"].is_monotonic_increasing
    assert len(budget_recorded.read(tmp_path, least=5)[0]) == 400  # the folder


def test_bad_rows_are_faults_and_missing_columns_refuse_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet")
    frame = pd.read_parquet(path)
    frame.loc[3, "date"], frame.loc[5, "merchant"] = "soon", ""
    frame.to_parquet(path)
    sound, faults = budget_recorded.read(path, least=5)
    assert len(sound) == 398 and {fault.index for fault in faults} == {3, 5}
    frame.drop(columns=["card"]).to_parquet(path)
    with pytest.raises(BadDataError, match="missing column card"):
        budget_recorded.read(path)
    with pytest.raises(FileNotFoundError, match="expected a"):
        budget_recorded.file(tmp_path)


def test_every_way_is_scored_by_time_and_by_card(tmp_path: Path) -> None:
    from rich.console import Console

    frame, _ = budget_recorded.read(written(tmp_path / "a.parquet"), least=5)
    for folds in (by_time(frame, 2), by_card(frame, 2)):
        scores = cross_validate(frame, folds, 1000, Console(quiet=True))
        assert [score.name for score in scores] == [*WAYS, *WAYS]
        assert all(score.accuracy > 0.9 for score in scores)
        assert markdown(scores).count("\n") == len(WAYS) + 1


def test_the_recorded_file_is_read_where_there_is_one() -> None:
    folder = os.environ.get("MARINA_RECORDED_DATA")
    if not folder:
        pytest.skip("recorded data: set MARINA_RECORDED_DATA to a folder with budget/card_transactions.parquet")
    frame, _ = budget_recorded.read(Path(folder) / "budget")
    assert len(frame) > 200_000 and frame["category"].nunique() > 40


def test_an_archive_is_asked_of_rare_categories_that_it_knows_too(tmp_path: Path) -> None:
    from rich.console import Console

    from archives.contract import Contract, Tensor
    from training.budget.labelled import labelled
    from training.data.reading.style import Style

    path = written(tmp_path / "kept_aside.parquet", 150)
    with pytest.raises(BadDataError, match="no category has 200 rows"):  # to learn by
        budget_recorded.read(path)
    tensors = (Tensor("any", "float32", ("batch",)),)
    contract = Contract("budget_categorizer", "1.0", "budget", "classification", tensors, tensors, ("books", "food"))
    asked, _ = labelled(path, contract, Style(), Console(quiet=True))
    assert len(asked.requests) == pd.read_parquet(path)["category"].isin(contract.labels).sum()

import argparse
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from marina.database.connection import Database
from marina.database.raw_tables import RAW_ROWS
from training.data.reading.style import Style
from training.data.rows.export import export
from training.data.rows.importer import import_path, import_synthetic
from training.data.rows.loader import ReleaseError, release
from training.family import families, recipe

NOW = 1_795_000_000.0


@pytest.mark.parametrize("family", families("raw_rows"))
def test_training_reads_every_row_of_an_export_and_knows_it_by_its_hash(
    empty: Database, tmp_path: Path, family: str
) -> None:
    import_synthetic(empty, family, 600, 0, NOW)
    done = release(empty, family, 0.03, 1.0, "2026-W48", NOW)
    made = export(empty, family, tmp_path / family)
    assert made.rows == done.rows > 300
    assert made.dvc.read_text().startswith("outs:\n- md5: ") and made.sha256 in made.manifest.read_text()
    module = recipe(family)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    options = module.from_arguments(parser.parse_args(["--data", str(made.path)]), tmp_path)
    _, manifest = module.load(options, Console(quiet=True))
    assert manifest.sha256 == made.sha256
    again = import_path(empty, family, made.path, Style(), NOW)
    assert [(one.added, one.repeated, one.bad) for one in again] == [(0, made.rows, 0)]


def test_equal_rows_make_equal_bytes_and_an_earlier_week_can_be_had_again(empty: Database, tmp_path: Path) -> None:
    import_synthetic(empty, "catalog", 200, 0, NOW)
    release(empty, "catalog", 0.5, 0.2, "2026-W47", NOW)
    first = export(empty, "catalog", tmp_path / "a" / "catalog.parquet")
    release(empty, "catalog", 0.5, 0.2, "2026-W48", NOW)
    second = export(empty, "catalog", tmp_path / "b" / "catalog.parquet")
    again = export(empty, "catalog", tmp_path / "c" / "catalog.parquet", "2026-W47")
    assert first.path.read_bytes() == again.path.read_bytes() and first.sha256 == again.sha256
    assert second.rows > first.rows and second.sha256 != first.sha256
    assert (first.week, second.week, again.week) == ("2026-W47", "2026-W48", "2026-W47")


def test_an_export_replaces_the_one_before_it_and_leaves_nothing_else(empty: Database, tmp_path: Path) -> None:
    import_synthetic(empty, "market", 200, 0, NOW)
    release(empty, "market", 0.5, 0.5, "2026-W47", NOW)
    for _ in range(2):
        export(empty, "market", tmp_path / "market")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "market", "market.dvc", "market.manifest.json", "ohlcv_1h.parquet",
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "market")


def test_what_was_not_released_is_not_exported(empty: Database, tmp_path: Path) -> None:
    import_synthetic(empty, "catalog", 50, 0, NOW)
    with pytest.raises(ReleaseError, match="release --family catalog"):
        export(empty, "catalog", tmp_path / "a.parquet")
    release(empty, "catalog", 0.5, 0.2, "2026-W47", NOW)
    with empty.writing() as connection:
        connection.execute(sa.update(RAW_ROWS).values(week="2026-W47"))
    with pytest.raises(ReleaseError, match="not those that were released"):
        export(empty, "catalog", tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []

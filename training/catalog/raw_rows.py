"""Products as rows of the database (`training.data.rows`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.catalog import recorded
from training.catalog.synthetic.listings import Synthesis
from training.catalog.synthetic.listings import generate as synthesise
from training.data.quality import Fault
from training.data.reading.columns import Column
from training.data.reading.reader import TableReader
from training.data.rows.source import RowSource

if TYPE_CHECKING:
    import pandas as pd

KIND: Final = "catalog"
CODE: Final = "prdtypecode"


def read(file: Path, reader: TableReader) -> tuple[str, pd.DataFrame, list[Fault]]:
    """Read a file's products."""
    frame, faults = recorded.read_file(file, "skip", reader)
    return KIND, frame.rename(columns={"code": CODE}), faults


def generate(rows: int, seed: int) -> Mapping[str, pd.DataFrame]:
    """Generate products."""
    return {KIND: synthesise(Synthesis(products=rows, seed=seed)).rename(columns={"code": CODE})}


SOURCE: Final = RowSource(
    kinds={KIND: (Column("designation"), Column("description"), Column(CODE))},
    files=recorded.files,
    read=read,
    generate=generate,
    labelled={"catalog": {"designation": "designation", "description": "description", "": CODE}},
)

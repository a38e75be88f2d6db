"""Files, commits and projects at their moments as rows of the database (`training.data.rows`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.code_health.features import NAMES
from training.code_health import rows as code_health_rows
from training.code_health.synthetic.rows import Synthesis
from training.code_health.synthetic.rows import generate as synthesise
from training.data.quality import Fault
from training.data.reading.reader import TableReader
from training.data.rows.source import RowSource

if TYPE_CHECKING:
    import pandas as pd

KIND: Final = "code_health"
A_PROJECT: Final = 400
"""Fewer than the rows of a generated project."""


def read(file: Path, reader: TableReader) -> tuple[str, pd.DataFrame, list[Fault]]:
    """Read what ``scripts/extract_code_features.py`` wrote."""
    return KIND, *code_health_rows.read_file(file, "skip", reader)


def generate(rows: int, seed: int) -> Mapping[str, pd.DataFrame]:
    """Generate the rows of projects, in the order of time."""
    import pandas as pd

    made = synthesise(Synthesis(projects=max(2, math.ceil(rows / A_PROJECT)), seed=seed))
    frame = pd.DataFrame(dict(zip(NAMES, made.features.T.astype(float), strict=True)) | dict(made.targets))
    frame["project"] = [f"{seed}-{project}" for project in made.projects.tolist()]
    frame["kind"] = made.kinds
    frame["moment"] = pd.to_datetime(made.moments).tz_localize("UTC").astype("datetime64[ns, UTC]")
    return {KIND: frame.sort_values("moment", kind="stable", ignore_index=True).head(rows)}


SOURCE: Final = RowSource(
    kinds={KIND: code_health_rows.COLUMNS},
    files=code_health_rows.files,
    read=read,
    generate=generate,
    moment="moment",
)

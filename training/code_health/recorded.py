"""Recorded data on defects and delays: commits of open-source projects, issues, sprints and classes.

The sets come from the literature and have columns of their own, not the 35 features: just-in-time defect data (Kamei
et al., 2013; Zeng et al., ISSTA 2021; Keshavarz & Nagappan, MSR 2022), delays of issues and sprints (Choetkiertikul et
al., EMSE 2017 and TSE 2018), and classes (D'Ambros et al., MSR 2010). Each row knows its project and, where the set
tells, its place in the project's time.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pandas as pd

from training.code_health.recorded_sets import READERS, RecordedSet
from training.data import tables
from training.data.quality import Fault, OnBad
from training.data.reading.encodings import open_table

ENDING: Final = ".csv.gz"


def files(path: Path) -> list[Path]:
    """Return the sets at a path that this module reads: the file itself, or those in the folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [one for one in candidates if one.is_file() and one.name.removesuffix(ENDING) in READERS]
    if not found:
        known = ", ".join(f"{name}{ENDING}" for name in READERS)
        raise FileNotFoundError(f"no recorded data on code at {path}: expected one of {known}")
    return found


def read(file: Path, on_bad: OnBad = "skip") -> tuple[list[RecordedSet], list[Fault]]:
    """Read and check a file: the question that it is there for, and others that can be asked of it.

    Parameters
    ----------
    file
        One of those that `files` returns.
    on_bad
        Whether bad rows are skipped or all is refused.

    Raises
    ------
    training.data.quality.BadDataError
        If a column is missing, nothing sound is left, or rows are bad and `on_bad` is "refuse".
    """
    name = file.name.removesuffix(ENDING)
    schema, derive = READERS[name]
    opened = open_table(file)
    # Published tables of one fixed form, some with columns that only their file names: nothing is to be decided.
    whole = pd.read_csv(io.StringIO(opened.text)) if opened.text is not None else pd.read_parquet(file)
    frame, faults = tables.checked(whole, schema(), file.name, on_bad)
    return derive(name, frame), faults

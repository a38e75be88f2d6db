"""Rows of code health: the 35 features of files, commits and projects, and their outcomes.

A row's targets look at what came after its moment; where the history ends before a target's horizon does, the target is
not known and NaN is in its place. `training.code_health.mining.targets` defines them; `read` takes what
``scripts/extract_code_features.py`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.code_health.features import NAMES, POSSIBLE, READS, columns
from models.ranges import MISSING_SHARE, are_possible, missing_share
from training.code_health.mining.targets import TARGETS
from training.data import tables
from training.data.quality import Fault, OnBad
from training.data.reading.columns import Column
from training.data.reading.encodings import find_tables
from training.data.reading.reader import TableReader

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]

HORIZON_DAYS: Final[Mapping[str, int]] = {**{one.name: one.horizon_days for one in TARGETS}, "anomaly": 0}
"""How far each target looks ahead of its row's moment: those of `mining.targets`, and ``anomaly``, an unusual
commit, which is known of generated ones only."""

KINDS: Final = ("file", "commit", "project")
COLUMNS: Final = (
    Column("project"),
    Column("kind"),
    Column("moment", "instant"),
    *(Column(name, "number", blank=True) for name in NAMES),
    *(Column(name, "number", required=False) for name in HORIZON_DAYS),
)
FAR: Final = 1e12
"""Largest magnitude of a feature that was measured, not garbled."""


@dataclass(frozen=True)
class Rows:
    """Subjects at their moments.

    Attributes
    ----------
    features
        float32 [N, 35] in the order of `NAMES`; NaN is missing.
    projects, kinds
        str [N]: whose row, and "commit", "file" or "project".
    moments
        datetime64[D] [N].
    targets
        Name to float32 [N]; NaN is not known. Those of `HORIZON_DAYS`.
    """

    features: Floats
    projects: npt.NDArray[np.str_]
    kinds: npt.NDArray[np.str_]
    moments: npt.NDArray[np.datetime64]
    targets: Mapping[str, Floats]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)

    def select(self, indices: npt.NDArray[Any]) -> Rows:
        """Return some of the rows, in the order given."""
        return Rows(
            self.features[indices],
            self.projects[indices],
            self.kinds[indices],
            self.moments[indices],
            {name: values[indices] for name, values in self.targets.items()},
        )

    def known(self, target: str) -> Rows:
        """Return the rows of which a target is known."""
        return self.select(np.flatnonzero(np.isfinite(self.targets[target])))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything by name, for a manifest."""
        return {
            "features": self.features,
            "projects": self.projects,
            "kinds": self.kinds,
            "moments": self.moments.astype("datetime64[D]").astype(np.int64),
            **{f"target_{name}": values for name, values in self.targets.items()},
        }


def files(path: Path) -> list[Path]:
    """Return the tables at a path: the file itself, or those in the folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    try:
        return find_tables(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; write one with scripts/extract_code_features.py") from None


def read(path: Path, on_bad: OnBad = "skip", reader: TableReader | None = None) -> tuple[Rows, list[Fault]]:
    """Read and check what ``scripts/extract_code_features.py --labels`` wrote.

    Parameters
    ----------
    path
        A table, or a folder of them (one per repository, say).
    on_bad
        Whether bad rows are skipped or all is refused.
    reader
        Decides what a file leaves open, and keeps an account of it.

    Returns
    -------
    rows, faults
        In the order of files and rows.

    Raises
    ------
    training.data.quality.BadDataError
        If a column is missing, nothing sound is left, or rows are bad and `on_bad` is "refuse".
    FileNotFoundError
        If there is nothing to read.
    """
    import pandas as pd

    reader = reader or TableReader()
    sound, faults = [], []
    for file in files(path):
        checked, wrong = read_file(file, on_bad, reader)
        sound.append(checked)
        faults += wrong
    return of_frame(pd.concat(sound, ignore_index=True)), faults


def read_file(file: Path, on_bad: OnBad, reader: TableReader) -> tuple[pd.DataFrame, list[Fault]]:
    """Read one file as `read` does, in columns `COLUMNS`; the rows keep their numbers in it as index."""
    table = reader.read(file, COLUMNS)
    table.frame[MISSING_SHARE] = _least_missing(table.frame)
    return tables.checked(table.frame, schema(), file.name, on_bad, table, keep_index=True)


def schema() -> Any:
    """Return what a table of features must be: as `POSSIBLE` says, and nothing infinite."""
    import pandera.pandas as pa

    features = {
        name: pa.Column(
            float, pa.Check.in_range(-FAR if low is None else low, FAR if high is None else high), nullable=True
        )
        for name, (low, high) in POSSIBLE.items()
    }
    outcomes = {name: pa.Column(float, pa.Check.in_range(0, 1), nullable=True, required=False) for name in HORIZON_DAYS}
    what = {
        "project": pa.Column(str),
        "kind": pa.Column(str, pa.Check.isin(KINDS)),
        "moment": pa.Column("datetime64[ns, UTC]"),
    }
    return pa.DataFrameSchema({**what, **features, **outcomes}, coerce=True)


def _least_missing(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the share of missing features of each row, for the model that it lacks the fewest of."""
    import pandas as pd

    numbers = frame.reindex(columns=list(NAMES)).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    shares = np.stack([missing_share(numbers[:, columns(names)]) for names in READS.values()])
    least: npt.NDArray[np.float64] = shares.min(axis=0)
    return least


def select_possible(rows: Rows, names: Sequence[str]) -> Rows:
    """Return the rows that a model of these features would answer; the others teach it nothing either."""
    return rows.select(np.flatnonzero(are_possible(rows.features[:, columns(names)], names, POSSIBLE)))


def of_frame(frame: pd.DataFrame) -> Rows:
    """Return a checked table's rows; a target without a column is not known."""
    unknown = np.full(len(frame), np.nan, np.float32)
    return Rows(
        frame[list(NAMES)].to_numpy(np.float32),
        frame["project"].to_numpy(dtype=np.str_),
        frame["kind"].to_numpy(dtype=np.str_),
        frame["moment"].dt.tz_localize(None).to_numpy().astype("datetime64[D]"),
        {name: frame[name].to_numpy(np.float32) if name in frame else unknown for name in HORIZON_DAYS},
    )

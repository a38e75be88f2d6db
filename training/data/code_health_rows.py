"""Rows of code health: the 35 features of files, commits and projects, and what became of them.

A row's targets look at what came after its moment; where the history ends before a target's horizon does, the target is
not known and NaN stands in its place. `training.code_labels` defines them; `read` takes what
``scripts/extract_code_features.py`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from models.code_health.features import FEATURES, NAMES
from training.code_labels import TARGETS
from training.data import tables
from training.data.quality import Fault, OnBad

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]

HORIZON_DAYS: Final[Mapping[str, int]] = {**{one.name: one.horizon_days for one in TARGETS}, "anomaly": 0}
"""How far each target looks ahead of its row's moment: those of `training.code_labels`, and ``anomaly``, an unusual
commit, which is known of generated ones only."""

KINDS: Final = ("file", "commit", "project")
SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")
SIGNED: Final = frozenset({"acceleration", "growth"})
"""The features that may be negative; growth is a share that may also exceed 1."""
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
    found = sorted(one for one in path.iterdir() if one.name.endswith(SUFFIXES)) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise FileNotFoundError(f"no table of features at {path}: write one with scripts/extract_code_features.py")
    return found


def read(path: Path, on_bad: OnBad = "skip") -> tuple[Rows, list[Fault]]:
    """Read and check what ``scripts/extract_code_features.py --labels`` wrote.

    Parameters
    ----------
    path
        A ``.parquet``, ``.csv`` or ``.csv.gz`` file, or a folder of them (one per repository, say).
    on_bad
        Whether bad rows are skipped or all is refused.

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

    sound, faults = [], []
    for file in files(path):
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
        checked, wrong = tables.checked(frame, schema(), file.name, on_bad)
        sound.append(checked)
        faults += wrong
    return of_frame(pd.concat(sound, ignore_index=True)), faults


def schema() -> Any:
    """Return what a table of features must be: shares from 0 to 1, counts not negative, nothing infinite."""
    import pandera.pandas as pa

    shares = {feature.name for feature in FEATURES if feature.unit == "share"} - SIGNED
    columns = {
        feature.name: pa.Column(
            float,
            pa.Check.in_range(-FAR if feature.name in SIGNED else 0, 1 if feature.name in shares else FAR),
            nullable=True,
        )
        for feature in FEATURES
    }
    outcomes = {name: pa.Column(float, pa.Check.in_range(0, 1), nullable=True, required=False) for name in HORIZON_DAYS}
    what = {
        "project": pa.Column(str),
        "kind": pa.Column(str, pa.Check.isin(KINDS)),
        "moment": pa.Column("datetime64[ns, UTC]"),
    }
    return pa.DataFrameSchema({**what, **columns, **outcomes}, coerce=True)


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

"""Rows of features to ask a code-health archive about, of commits or files that its training did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.contract import Contract
from models.code_health.features import columns as places_of
from training.code_health import rows as code_health_rows
from training.code_health.fit import TARGET
from training.code_health.metrics import classified, regressed
from training.data.loading import load_recorded
from training.data.manifest import Manifest
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.evaluation.labelled import LEAST_GROUPS, Columns, Labelled, LabelledError

MAIN: Final = ("auc", "ap", "accuracy", "majority", "precision", "recall", "f1", "brier", "calibration_error", "rate")


def labelled(path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
    """Read what ``scripts/extract_code_features.py --labels`` wrote; rows whose outcome is not known are left out.

    Groups are projects; where there are few of them, months.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing sound is there.
    training.evaluation.labelled.LabelledError
        If no outcome is known.
    FileNotFoundError
        If there is no file.
    """
    reader = TableReader(style)
    read = partial(code_health_rows.read, reader=reader)
    rows, used = load_recorded(path, read, code_health_rows.files, console, reader)
    target = TARGET[contract.model]
    asked = rows.known(target)
    if not len(asked):
        raise LabelledError(
            f"expected rows with the outcome '{target}', got {len(rows)} without; write them with "
            "scripts/extract_code_features.py --labels"
        )
    several = len(np.unique(asked.projects)) >= LEAST_GROUPS
    groups = asked.projects if several else asked.moments.astype("datetime64[M]").astype(str)
    values = asked.features[:, places_of(contract.features)]
    label = contract.labels[1] if contract.labels else ""

    def judge(at: Sequence[int], answers: Sequence[Mapping[str, Any]]) -> tuple[Columns, npt.NDArray[Any]]:
        chosen = np.asarray(at, np.int64)
        found = np.array([one["value"] for one in answers], np.float64)
        return {"value": found, "truth": asked.targets[target][chosen]}, groups[chosen]

    def figures(columns: Columns) -> dict[str, float]:
        truth, value = columns["truth"], columns["value"]
        if not label:
            return regressed(truth, value, float(truth.mean()))
        found = classified(truth, value, contract.thresholds[label])
        meaningless = ("brier", "calibration_error") if contract.task == "anomaly" else ()
        if not 0 < truth.sum() < len(truth):  # nothing is distinguished where all are of one kind
            meaningless = (*meaningless, "auc", "ap")
        return {name: float("nan") if name in meaningless else found[name] for name in MAIN}

    def loss(columns: Columns) -> npt.NDArray[Any]:
        truth, value = columns["truth"], columns["value"]
        if not label:
            return np.asarray(np.abs(value - truth))
        if contract.task == "anomaly":  # its value is no probability
            return np.asarray((value >= contract.thresholds[label]) != (truth > 0))
        return np.asarray(np.square(value - truth))

    return (
        Labelled(
            requests=[
                {
                    "features": {
                        name: None if np.isnan(one) else one for name, one in zip(contract.features, row, strict=True)
                    }
                }
                for row in values.astype(np.float64).tolist()
            ],
            described=f"{len(asked):,} of {len(rows):,} rows, those of which '{target}' is known",
            grouped_by="project" if several else "month",
            judge=judge,
            figures=figures,
            loss=loss,
            unit="error" if not label else "errors" if contract.task == "anomaly" else "Brier",
        ),
        used,
    )

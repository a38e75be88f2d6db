"""Hours of a recorded market to ask an archive about, after those that its training has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.contract import Contract
from handlers.market import GIVEN
from models.market.alerts import LABELS
from models.market.windows import LOOKBACK_H
from training.data.loading import load_recorded
from training.data.manifest import Manifest
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.evaluation.labelled import Columns, Labelled, LabelledError
from training.evaluation.reliability import calibration_error
from training.market import recorded
from training.market.history import History
from training.market.metrics import area
from training.market.rows import tabulate

STRIDE: Final = 4
"""One in so many hours is asked about: neighbours share nearly all of their week."""


def labelled(path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
    """Read a table of candles, or the folder of a recorded market; groups are weeks.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing sound is there.
    training.evaluation.labelled.LabelledError
        If no hour has a week before it and two days after it.
    FileNotFoundError
        If there are no prices.
    """
    reader = TableReader(style)
    history, used = load_recorded(path, partial(recorded.read, reader=reader), recorded.files, console, reader)
    at = history.hours(STRIDE)
    if not len(at):
        raise LabelledError(f"expected hours with a week before them and 48 h after them, got {len(history)} hours")
    table = tabulate(history, STRIDE)
    weeks = table.times.astype("datetime64[W]").astype(str)
    places = {label: k for k, label in enumerate(LABELS)}

    def judge(rows: Sequence[int], answers: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[Columns, npt.NDArray[Any]]:
        chosen = np.asarray(rows, np.int64)
        probabilities, given = np.zeros((len(chosen), len(LABELS))), np.zeros((len(chosen), len(LABELS)), bool)
        for row, answer in enumerate(answers):
            for one in answer:
                probabilities[row, places[one["label"]]] = one["probability"]
                given[row, places[one["label"]]] = one["alert"]
        found = {"happened": table.outcomes.happened[chosen], "already": table.outcomes.already[chosen]}
        return {"probabilities": probabilities, "alert": given, **found}, weeks[chosen]

    return (
        Labelled(
            requests=[_request(history, int(hour)) for hour in at],
            described=f"{len(at):,} hours, one in {STRIDE}, of {len(history):,}",
            grouped_by="week",
            judge=judge,
            figures=figures,
            loss=lambda columns: np.square(columns["probabilities"] - columns["happened"]).mean(axis=1),
            unit="Brier",
        ),
        used,
    )


def figures(columns: Columns) -> dict[str, float]:
    """Return figures over all questions.

    Returns
    -------
    dict of str to float
        Means over the questions of the area under the ROC curve (``auc``), of the Brier skill against stating the share
        of these very hours (``skill``), and of ``calibration_error``; of alerts, how often the state began
        (``alert_precision``), of beginnings how many had one (``alert_recall``); and alerts a day.
    """
    p, happened, given = columns["probabilities"], columns["happened"], columns["alert"]
    begins = happened & ~columns["already"]
    questions = range(p.shape[1])
    areas = np.array([area(p[:, k], happened[:, k]) for k in questions])
    errors, plain = ((p - happened) ** 2).mean(axis=0), happened.var(axis=0)
    varied = plain > 0
    return {
        "auc": float(areas[np.isfinite(areas)].mean()) if np.isfinite(areas).any() else float("nan"),
        "skill": float((1 - errors[varied] / plain[varied]).mean()) if varied.any() else float("nan"),
        "calibration_error": float(np.mean([calibration_error(p[:, k], happened[:, k]) for k in questions])),
        "alert_precision": float(begins[given].mean()) if given.any() else float("nan"),
        "alert_recall": float(given[begins].mean()) if begins.any() else float("nan"),
        "alerts_per_day": 24 * float(given.any(axis=1).mean()),
    }


def _request(history: History, hour: int) -> dict[str, Any]:
    """Return what a client knows at an hour."""
    week = history.prices[hour - LOOKBACK_H + 1 : hour + 1]
    prices = {
        name: [None if np.isnan(close) else close for close in week[:, k].tolist()]
        for k, name in enumerate(history.assets)
    }
    given = zip(GIVEN.values(), history.context[hour].tolist(), strict=True)
    return {
        "prices": prices,
        "time": f"{history.times[hour].astype('datetime64[s]')}Z",
        **{name: value for name, value in given if np.isfinite(value)},
    }

"""Recorded transactions to ask a budget archive about, of users or months that its training did not see.

The categorizer is held against the categories that the rows have, the forecaster against what each month came to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.contract import Contract
from models.budget.forecast_features import YEAR
from models.quality.measures import wape
from training.budget.anomaly import recipe as budget_anomaly
from training.budget.categorizer import recipe as budget_categorizer
from training.budget.categorizer.dataset import group_of, read_recorded
from training.budget.forecast import recipe as budget_forecast
from training.budget.forecast.metrics import coverage
from training.budget.forecast.recipe import household_series
from training.data.manifest import Manifest
from training.data.reading.style import Style
from training.evaluation.classification import evaluate
from training.evaluation.labelled import Columns, Labelled, LabelledError, known, positions, probabilities_of

if TYPE_CHECKING:
    import pandas as pd

DAYS: Final = (0, 10, 20)
"""Days of each month on which a forecast is asked for."""


def labelled(path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
    """Read a bank's export or recorded cards, or a folder of them.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing sound is there.
    training.evaluation.labelled.LabelledError
        If the rows say nothing of what the archive answers.
    FileNotFoundError
        If there is no file.
    """
    if contract.model == budget_anomaly.MODEL:
        raise LabelledError(
            f"{contract.model}: recorded transactions do not say which of them are anomalies; what its training put in "
            "and found again is in the model card (scripts/inspect_archive.py --card)"
        )
    frame, used = read_recorded(str(path), "skip", style, console, least=1)  # what the archive knows is asked
    read: dict[str, Callable[[pd.DataFrame, Contract, str], Labelled]] = {
        budget_categorizer.MODEL: categories, budget_forecast.MODEL: months,
    }  # fmt: skip
    return read[contract.model](frame, contract, path.name), used


def categories(frame: pd.DataFrame, contract: Contract, file: str) -> Labelled:
    """Ask for the category of each transaction that has one which the archive knows."""
    tagged = frame[frame["category"] != ""].reset_index(drop=True)
    asked = tagged.iloc[known(tagged["category"].to_numpy().astype(str), contract, "category")]
    groups = group_of(asked, file)
    truth = positions(asked["category"].tolist(), contract.labels)

    def judge(at: Sequence[int], answers: Sequence[Mapping[str, Any]]) -> tuple[Columns, npt.NDArray[Any]]:
        chosen = np.asarray(at, np.int64)
        model = [one["top"] for one in answers]
        return {
            "probabilities": probabilities_of(model, contract.labels),
            "answer": positions((one["label"] for one in answers), contract.labels),
            "sure": np.array([one["source"] != "fallback" for one in answers]),
            "truth": truth[chosen],
        }, groups[chosen]

    def figures(columns: Columns) -> dict[str, float]:
        right, sure = columns["answer"] == columns["truth"], columns["sure"]
        model = evaluate(columns["probabilities"], columns["truth"], contract.labels)
        return {
            "accuracy": float(right.mean()),
            "coverage": float(sure.mean()),
            "accuracy_sure": float(right[sure].mean()) if sure.any() else float("nan"),
            "calibration_error": model.calibration_error,
            **{f"model_{name}": value for name, value in model.metrics.items() if name != "calibration_error"},
        }

    rows = zip(asked["label"], asked["amount"], asked["date"], asked["account"], asked["user"], strict=True)
    return Labelled(
        requests=[
            {"label": label, "amount": float(amount), "date": str(date)[:10], "account": account, "user": user}
            for label, amount, date, account, user in rows
        ],
        described=f"{len(asked):,} of {len(frame):,} transactions, those of categories that it knows",
        grouped_by="user" if set(groups.tolist()) <= set(asked["user"]) else "month or day",
        judge=judge,
        figures=figures,
        loss=lambda columns: columns["answer"] != columns["truth"],
        labels=tuple(contract.labels),
    )


def months(frame: pd.DataFrame, contract: Contract, file: str) -> Labelled:
    """Ask what each whole month of each user comes to, by category, on some of its days."""
    named = frame[frame["category"] != ""]
    if named.empty:
        raise LabelledError(f"{file}: expected transactions with a category, which is what is forecast, got none")
    count = 1 + int(np.ptp(named["date"].to_numpy().astype("datetime64[M]").astype(np.int64)))
    if count < YEAR + 2:
        raise LabelledError(f"{file}: expected a year and two months more to forecast, got {count} months")
    series = household_series(named, count)
    most = contract.limits["months"]
    requests, truths, owners = [], [], []
    for user in np.unique(series.owners).tolist():
        mine = np.flatnonzero(series.owners == user)
        for month in range(YEAR, count - 1):  # the last month may not be over
            spent = (series.totals[mine, month - YEAR : month] != 0).any(axis=1)
            alive = mine[spent][: contract.limits["categories"]]
            for day in DAYS if len(alive) else ():
                requests.append(
                    {
                        "month": str(series.first + month),
                        "day": day,
                        "categories": [
                            {
                                "name": str(series.categories[at]),
                                "months": series.totals[at, max(0, month - most) : month].round(2).tolist(),
                                "spent": round(float(series.spent[at, month, day]), 2),
                                "by_now": series.spent[at, month - YEAR : month, day].round(2).tolist(),
                            }
                            for at in alive.tolist()
                        ],
                    }
                )
                truths.append(series.totals[alive, month])
                owners.append(user)
    if not requests:
        raise LabelledError(f"{file}: no user has a year of spending and a whole month after it")

    def judge(at: Sequence[int], answers: Sequence[Mapping[str, Any]]) -> tuple[Columns, npt.NDArray[Any]]:
        found = [
            [[one["low_eur"], one["forecast_eur"], one["high_eur"]] for one in answer["categories"]]
            for answer in answers
        ]
        totals = [[answer["total"][f"{name}_eur"] for name in ("low", "forecast", "high")] for answer in answers]
        counts = [len(one) for one in found]
        first = np.concatenate([np.arange(count) == 0 for count in counts])
        columns = {
            "truth": np.concatenate([truths[k] for k in at]),
            "forecast": np.concatenate([np.array(one) for one in found]),
            "first": first,  # of the rows of one request
            "total": np.repeat([truths[k].sum() for k in at], counts),
            "total_forecast": np.repeat(totals, counts, axis=0),
        }
        return columns, np.repeat([owners[k] for k in at], counts)

    return Labelled(
        requests=requests,
        described=f"{len(requests):,} forecasts of {len(set(owners)):,} users' months, on days {DAYS}",
        grouped_by="user",
        judge=judge,
        figures=_of_months,
        loss=lambda columns: np.abs(columns["forecast"][:, 1] - columns["truth"]),
        unit="EUR",
    )


def _of_months(columns: Columns) -> dict[str, float]:
    truth, forecast = columns["truth"], columns["forecast"]
    whole, total = columns["total"][columns["first"]], columns["total_forecast"][columns["first"]]
    return {
        "wape": wape(truth, forecast[:, 1]),
        "coverage": coverage(truth, forecast),
        "total.wape": wape(whole, total[:, 1]),
        "total.coverage": coverage(whole, total),
    }

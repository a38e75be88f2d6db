"""From a trained forecaster to its archive: contract, golden inputs; the example comes with what was trained."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Case
from archives.contract import Contract, Tensor
from models.budget.forecast_features import FEATURES
from models.budget.forecast_summary import SUMMARY, summarise
from models.budget.plausibility import USUAL_MONTH
from training.budget.forecast.forecaster import QUANTILES, Forecaster
from training.budget.forecast.recipe import MODEL, Trained
from training.data.splits import MOST_REFERENCES
from training.packaging.archive import TABULAR_TOLERANCE, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

MOST_CATEGORIES: Final = 40
MOST_MONTHS: Final = 60
MOST_TRANSACTIONS: Final = 1000
"""What one request may hold of each."""


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Says what a household's month will have come to, by category and in all, with an interval that is to hold "
        "eight months in ten: for budgets that the household itself reads."
    ),
    not_for=(
        "Lending, or promises to third parties. It was trained on generated spending; it learns a household's own "
        "habits from the year before only, and finds out a month late that a budget has ended. The interval of the "
        "total holds less often than it says where categories rise together."
    ),
)


def release(trained: Trained, version: str) -> Release:
    """Export a trained forecaster and collect its proofs.

    Parameters
    ----------
    trained
        By `train`.
    version
        Such as ``1.0``.
    """
    forecaster, rows = trained.forecaster, trained.test.guess.rows
    few = np.random.default_rng(0).permutation(len(rows))
    reference = trained.test.select(few[:MOST_REFERENCES])
    seasons = {name: [None if np.isnan(one) else one for one in year] for name, year in forecaster.seasons.items()}
    return Release(
        contract=Contract(
            model=MODEL,
            version=version,
            family="budget",
            task="regression",
            inputs=(
                Tensor(
                    "features", "float32", ("batch", len(FEATURES)),
                    unit="see docs/families/budget.md", missing="NaN: what a feature needs is not known",
                ),
            ),
            outputs=(
                Tensor(
                    "quantiles", "float32", ("batch", len(QUANTILES)),
                    unit="10th, 50th, 90th percentile: asinh of the series' noise, from the first guess",
                ),
            ),
            features=FEATURES,
            limits={"categories": MOST_CATEGORIES, "months": MOST_MONTHS, "transactions": MOST_TRANSACTIONS},
            usual=USUAL_MONTH,
            summary=SUMMARY,
        ),
        handler="handlers.budget.forecast:BudgetForecastHandler",
        onnx=forecaster.graph(),
        cases=tuple(_case(name, forecaster, some) for name, some in _golden(rows).items()),
        example=trained.example,
        reference={
            "features": reference.guess.rows,
            "quantiles": trained.test_answers[few[:MOST_REFERENCES]].astype(np.float32),
            "target": reference.target.astype(np.float32),
            **columns_of(SUMMARY, summarised(trained)),
        },
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        serving=configure_serving(pass_limit=2048),  # categories
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("unseen households", forecaster, rows[few[:4000]]),),
        # what is decided by a forecast: whether the month ends above its first guess, for sure, likely or perhaps
        decide=lambda outputs: np.greater(outputs["quantiles"], 0).sum(axis=1),
        family_data={"seasons": seasons, "total_stretch": forecaster.total},
    )  # fmt: skip


def summarised(trained: Trained) -> npt.NDArray[np.float32]:
    """Return the summaries of at most `MOST_REFERENCES` requests whose categories were tested, [requests, names]."""
    count = int(trained.requests.max()) + 1
    some = np.sort(np.random.default_rng(0).permutation(count)[:MOST_REFERENCES])
    order = np.argsort(trained.requests, kind="stable")
    order = order[np.isin(trained.requests[order], some)]
    counts = np.bincount(trained.requests, minlength=count)[some]
    return summarise(trained.test.guess.rows[order], counts)


def _golden(rows: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Choose rows that a served model must answer as the trained one: usual ones, missing values, and extremes."""
    usual = rows[np.linspace(0, len(rows) - 1, 48).astype(np.int64)]
    gaps = usual.copy()
    gaps[np.random.default_rng(0).random(gaps.shape) < 0.3] = np.nan
    width = len(FEATURES)
    extremes = [np.full(width, value, np.float32) for value in (-50, 0, 50, np.nan, 1e30, -1e30)]
    return {"usual": usual, "gaps": gaps, "extremes": np.stack(extremes)}


def _case(name: str, forecaster: Forecaster, rows: npt.NDArray[np.float32]) -> Case:
    return Case(name, {"features": rows}, {"quantiles": forecaster.answers(rows).astype(np.float32)})

"""The recipe of `budget_anomaly`: from transactions with injected anomalies to a detector that can be certified.

options ─ generate ─> transactions ─ split by user ─┬─> kept ─ search, fit, evaluate on test ─┬─> Trained
                                                    └─> all ─ fit ────────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.anomaly_features import FEATURES
from training import family, tracking
from training.budget.anomaly.detector import Detector
from training.budget.anomaly.fit import BOOSTED, fit, searched
from training.budget.anomaly.metrics import metrics_of
from training.budget.anomaly.rows import Table, table
from training.budget.synthetic import accounts
from training.data import manifest, splits
from training.evaluation import plots as pictures
from training.evaluation import shap_report
from training.evaluation.reliability import measure_reliability
from training.evaluation.slices import SliceReport, slice_report

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_anomaly"


@dataclass(frozen=True, kw_only=True)
class Options(family.SearchOptions):
    """One training run.

    Attributes
    ----------
    users, months
        Households to generate, and months of each.
    trials
        Of the search, over all estimators that are compared; at least one each. A quick run has no search.
    budget_s
        Seconds after which no further trial starts.
    """

    users: int = 60
    months: int = 18
    trials: int = 3
    budget_s: float = 60.0


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained detector with what its certificate and provenance are made of.

    Attributes
    ----------
    detector
        What serves.
    thresholds
        Of the score, by verdict.
    test, test_scores
        Transactions of users that the evaluated fit has not seen, and its scores of them, float64 [N].
    statement
        Transactions of one of them, for the example: columns ``date``, ``label``, ``amount``, ``anomaly``.
    """

    detector: Detector
    thresholds: dict[str, float]
    test: Table
    test_scores: npt.NDArray[np.float64]
    statement: pd.DataFrame


def train(options: Options, console: Console | None = None) -> Trained:
    """Train the detector on generated households, evaluate it on unseen ones, and record the run in MLflow.

    Parameters
    ----------
    options
        What to train on, and how.
    console
        Where progress is shown; none is shown without one.
    """
    console = console or Console(quiet=True)
    what = accounts.Synthesis(users=options.users, months=options.months, seed=options.seed)
    frame = accounts.generate(what)
    data = manifest.of_arrays({name: _plain(frame[name]) for name in frame.columns}, "budget_synthetic")
    judged = table(frame)
    kept, test = splits.holdout(judged.users, 0.25, options.seed)
    params: dict[str, str | int | float] = {"model": MODEL, "users": options.users, "months": options.months}
    params |= {"seed": options.seed, "trials": options.trials}
    params |= {"rows_kept": len(kept), "rows_test": len(test)}
    known, unseen = judged.select(kept), judged.select(test)
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        chosen = BOOSTED
        if not options.quick:
            chosen = searched(known, options.trials, options.budget_s, options.seed, run, console)
        detector, thresholds = fit(chosen, known, options.seed)
        score = detector.scores(unseen.rows)
        metrics = metrics_of(score, unseen, thresholds) | {"forest_weight": detector.weight}
        run.metrics(metrics)
        compared = _slices(score >= thresholds["suspicious"], unseen)
        run.text(compared.markdown(), "slices.md")
        reliability = measure_reliability(score, unseen.odd)
        run.figure(pictures.reliability_diagram({"anomaly": reliability}), "reliability")
        few = np.random.default_rng(options.seed).permutation(len(unseen))[:200]
        shap_report.explain(run, detector.boosted, unseen.rows[few], FEATURES)
        run_id = run.id
    console.print(
        f"{MODEL}: on {len(set(unseen.users.tolist()))} unseen users {metrics['suspicious.false_positives']:.1%} of "
        f"usual transactions are suspicious, and {metrics['suspicious.recall']:.1%} of injected anomalies "
        f"(anomalous: {metrics['anomalous.false_positives']:.2%} and {metrics['anomalous.recall']:.1%})",
        highlight=False,
    )
    on = f"{len(test):,} transactions of {len(set(unseen.users.tolist()))} users that the evaluated fit has not seen"
    fits = family.Fits(evaluated=on, shipped="the evaluated fit itself", refitted=False)
    if not options.quick:
        detector, thresholds = fit(chosen, judged, options.seed)
        whole = f"all {len(judged):,} transactions of {options.users} users"
        fits = family.Fits(evaluated=on, shipped=f"{whole}; weight, calibration and thresholds out of folds of users")
    with_both = [
        user for user in np.unique(unseen.users) if {"duplicate", "amount"} <= set(unseen.kinds[unseen.users == user])
    ]
    mine = frame[frame["user"] == (with_both or [unseen.users[0]])[0]]
    return Trained(
        detector=detector,
        thresholds=thresholds,
        test=unseen,
        test_scores=score,
        statement=mine[["date", "label", "amount", "anomaly"]].reset_index(drop=True),
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run_id,
        fits=fits,
        quick=options.quick,
        slices=compared,
    )


def _slices(reported: npt.NDArray[np.bool_], unseen: Table) -> SliceReport:
    known = np.digitize(unseen.before, (100, 300))
    history = np.array(["under 100 rows", "100 to 299 rows", "300 rows or more"])[known]
    by = {"kind": np.where(unseen.odd, unseen.kinds, "usual"), "history": history, "user": unseen.users}
    return slice_report((reported == unseen.odd).astype(np.float64), by)


def _plain(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy()
    return values if values.dtype.kind in "fiM" else values.astype(np.str_)

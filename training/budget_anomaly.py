"""The recipe of `budget_anomaly`: from transactions with injected anomalies to a detector that can be certified.

options ─ generate ─> transactions ─ split by user ─> fitting, validation, test
fitting ─ search ─> trees, isolation forest ─ validation ─> its weight, calibration, thresholds ─ test ─> Trained
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from archives.certificate import Case
from archives.contract import Contract, Tensor
from models.budget.anomaly_features import FEATURES, PARTS
from training import features_report, tracking
from training.archive import TABULAR_TOLERANCE, Release, served
from training.budget_anomaly_fit import assembled, boosted, searched
from training.budget_anomaly_model import Detector
from training.budget_anomaly_score import metrics_of
from training.budget_anomaly_table import HISTORY, Table, table
from training.data import budget_synthetic, manifest, splits
from training.provenance import provenance
from training.slices import slice_report

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "budget_anomaly"


MOST_JUDGED: Final = 100
"""Transactions that one request may have judged."""

REFERENCES: Final = 512


@dataclass(frozen=True)
class Options:
    """One training run.

    Attributes
    ----------
    home
        Folder of the local MLflow database.
    users, months
        Households to generate, and months of each.
    seed
        Of all chance.
    trials
        Of the search, over all estimators that are compared; at least one each.
    budget_s
        Seconds after which no further trial begins.
    """

    home: Path = Path(".marina")
    users: int = 60
    months: int = 18
    seed: int = 0
    trials: int = 3
    budget_s: float = 60.0


@dataclass(frozen=True)
class Trained:
    """A trained detector with what its certificate and provenance are made of.

    Attributes
    ----------
    detector
        What serves.
    thresholds
        Of the score, by verdict.
    test
        Transactions of users never seen in training.
    statement
        Transactions of one of them, for the example: columns ``date``, ``label``, ``amount``, ``anomaly``.
    metrics
        On `test`.
    params
        Of the run.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    detector: Detector
    thresholds: dict[str, float]
    test: Table
    statement: pd.DataFrame
    metrics: dict[str, float]
    params: dict[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str


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
    what = budget_synthetic.Synthesis(users=options.users, months=options.months, seed=options.seed)
    frame = budget_synthetic.generate(what)
    data = manifest.of_arrays({name: _plain(frame[name]) for name in frame.columns}, "budget_synthetic")
    judged = table(frame)
    kept, test = splits.holdout(judged.users, 0.25, options.seed)
    fitting, validation = (kept[part] for part in splits.holdout(judged.users[kept], 0.3, options.seed))
    params: dict[str, str | int | float] = {"model": MODEL, "users": options.users, "months": options.months}
    params |= {"seed": options.seed, "trials": options.trials}
    params |= {"rows_fitting": len(fitting), "rows_validation": len(validation), "rows_test": len(test)}
    unseen = judged.select(test)
    with tracking.run("budget", options.home, params, data, MODEL) as run:
        known, held = judged.select(fitting), judged.select(validation)
        chosen = searched(known, options.trials, options.budget_s, options.seed, run, console)
        detector, thresholds = assembled(boosted(chosen, known, options.seed), known, held, options.seed)
        score = detector.scores(unseen.rows)
        metrics = metrics_of(score, unseen, thresholds) | {"forest_weight": detector.weight}
        run.metrics(metrics)
        run.text(_slices(score >= thresholds["suspicious"], unseen), "slices.md")
        few = np.random.default_rng(options.seed).permutation(len(unseen))[:200]
        features_report.explain(run, detector.boosted, unseen.rows[few], FEATURES)
        run_id = run.id
    console.print(
        f"{MODEL}: on {len(set(unseen.users.tolist()))} unseen users {metrics['suspicious.false_positives']:.1%} of "
        f"usual transactions are suspicious, and {metrics['suspicious.recall']:.1%} of injected anomalies "
        f"(anomalous: {metrics['anomalous.false_positives']:.2%} and {metrics['anomalous.recall']:.1%})",
        highlight=False,
    )
    with_both = [
        user for user in np.unique(unseen.users) if {"duplicate", "amount"} <= set(unseen.kinds[unseen.users == user])
    ]
    mine = frame[frame["user"] == (with_both or [unseen.users[0]])[0]]
    return Trained(
        detector=detector,
        thresholds=thresholds,
        test=unseen,
        statement=mine[["date", "label", "amount", "anomaly"]].reset_index(drop=True),
        metrics=metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run_id,
    )


def release(trained: Trained, version: str) -> Release:
    """Export a trained detector and collect its proofs.

    Parameters
    ----------
    trained
        By `train`.
    version
        Such as ``1.0``.
    """
    golden = _golden(trained)
    few = np.random.default_rng(0).permutation(len(trained.test))[:REFERENCES]
    reference = trained.test.select(few)
    answers = trained.detector.answers(reference.rows)
    return Release(
        contract=Contract(
            model=MODEL,
            version=version,
            family="budget",
            task="anomaly",
            inputs=(
                Tensor(
                    "features",
                    "float32",
                    ("batch", len(FEATURES)),
                    unit="see docs/families/budget.md",
                    missing="never: what is not known has a value of its own",
                ),
            ),
            outputs=(
                Tensor("score", "float32", ("batch", 1), unit="probability"),
                Tensor("without", "float32", ("batch", len(PARTS)), unit="probability if a part were as usual"),
            ),
            thresholds=trained.thresholds,
            features=FEATURES,
            limits={"transactions": MOST_JUDGED, "history": HISTORY},
        ),
        handler="handlers.budget_anomaly:BudgetAnomalyHandler",
        onnx=trained.detector.graph(),
        cases=tuple(_case(name, trained.detector, rows) for name, rows in golden.items()),
        example=_example(trained.statement),
        reference={
            "features": reference.rows,
            "usual": trained.detector.usual,
            "score": answers.score[:, 0].astype(np.float32),
            "odd": reference.odd.astype(np.int64),
        },
        provenance=provenance(trained),
        serving=served(pass_limit=2048),  # transactions
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("unseen users", trained.detector, trained.test.rows),),
        decide=lambda outputs: np.searchsorted(
            sorted(trained.thresholds.values()), outputs["score"][:, 0], side="right"
        ),
    )


def evaluate_recorded(path: Path, console: Console) -> None:
    """Print how the detector does on recorded card payments, as a table in Markdown.

    Parameters
    ----------
    path
        The file that `training.data.budget_recorded` reads.
    console
        Where to print.
    """
    from training.budget_anomaly_recorded import evaluate

    evaluate(path, console)


def _golden(trained: Trained) -> dict[str, npt.NDArray[np.float32]]:
    """Choose rows that a served model must answer as the trained one: usual ones, one of each kind, and extremes."""
    test, usual = trained.test, trained.detector.usual
    kinds = np.unique(test.kinds[test.odd]).tolist()
    chosen = [int(np.flatnonzero(test.kinds == kind)[0]) for kind in kinds]
    spread = np.linspace(0, len(test) - 1, 24).astype(np.int64)
    noise = np.random.default_rng(0).normal(0, 4, (64, len(FEATURES)))
    return {
        "usual": usual[None],
        "anomalies": test.rows[chosen] if chosen else usual[None],
        "statement": test.rows[spread],
        "extremes": np.stack([np.full(len(FEATURES), value, np.float32) for value in (-12, 0, 12, 1e30)]),
        "noise": noise.astype(np.float32),
    }


def _case(name: str, detector: Detector, rows: npt.NDArray[np.float32]) -> Case:
    answers = detector.answers(rows)
    outputs = {"score": answers.score.astype(np.float32), "without": answers.without.astype(np.float32)}
    return Case(name, {"features": rows}, outputs)


def _example(statement: pd.DataFrame) -> dict[str, Any]:
    """Return a request of a statement's end: ten transactions with an anomaly among them, and sixty before."""
    odd = np.flatnonzero(statement["anomaly"].to_numpy() != "")
    late = odd[odd >= 65]
    last = min(len(statement), int(late[0]) + 5 if len(late) else len(statement))
    rows = [
        {"label": label, "amount": float(amount), "date": str(date)[:10]}
        for label, amount, date in zip(statement["label"], statement["amount"], statement["date"], strict=True)
    ][max(0, last - 70) : last]
    return {"transactions": rows[-10:], "history": rows[:-10]}


def _slices(reported: npt.NDArray[np.bool_], unseen: Table) -> str:
    known = np.digitize(unseen.before, (100, 300))
    history = np.array(["under 100 rows", "100 to 299 rows", "300 rows or more"])[known]
    by = {"kind": np.where(unseen.odd, unseen.kinds, "usual"), "history": history, "user": unseen.users}
    return slice_report((reported == unseen.odd).astype(np.float64), by).markdown()


def _plain(column: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_numpy()
    return values if values.dtype.kind in "fiM" else values.astype(np.str_)

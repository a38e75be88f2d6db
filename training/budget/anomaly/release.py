"""From a trained detector to its archive: contract, golden inputs, example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Case
from archives.contract import Contract, Tensor
from models.budget.anomaly_features import FEATURES, PARTS
from models.budget.anomaly_summary import SUMMARY, summarise
from models.budget.plausibility import POSSIBLE, USUAL
from training.budget.anomaly.detector import Detector
from training.budget.anomaly.recipe import MODEL, Trained
from training.budget.anomaly.rows import HISTORY
from training.data.splits import MOST_REFERENCES
from training.packaging.archive import TABULAR_TOLERANCE, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

MOST_JUDGED: Final = 100
"""Transactions that one request may have judged."""


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Points out transactions that are odd among a household's own: double charges, unusual amounts, strangers, "
        "bursts; for the household to look at."
    ),
    not_for=(
        "Blocking payments or accusing anyone: most of what it reports is in order. It was trained on generated "
        "accounts with injected anomalies, and no statement with real fraud was at hand. Corporate cards pay "
        "otherwise, and need a detector of their own."
    ),
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
    few = np.random.default_rng(0).permutation(len(trained.test))[:MOST_REFERENCES]
    reference = trained.test.select(few)
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
            possible=POSSIBLE,
            usual=USUAL,
            summary=SUMMARY,
        ),
        handler="handlers.budget.anomaly:BudgetAnomalyHandler",
        onnx=trained.detector.graph(),
        cases=tuple(_case(name, trained.detector, rows) for name, rows in golden.items()),
        example=_example(trained.statement),
        reference={
            "features": reference.rows,
            "usual": trained.detector.usual,
            "score": trained.test_scores[few].astype(np.float32),
            "odd": reference.odd.astype(np.int64),
            **columns_of(SUMMARY, summarise(reference.rows)),
        },
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        serving=configure_serving(pass_limit=2048),  # transactions
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("unseen users", trained.detector, trained.test.rows),),
        decide=lambda outputs: np.searchsorted(
            sorted(trained.thresholds.values()), outputs["score"][:, 0], side="right"
        ),
    )


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

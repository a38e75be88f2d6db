"""The market: from trained ensembles to a release, everything its archive is made of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.market.alerts import LABELS, THRESHOLDS, bounds_of, severities
from models.market.features import CONTEXT, NAMES
from training.archive import TABULAR_TOLERANCE, Decide, Release, served
from training.data.market_history import History
from training.graphs import finished
from training.market import MODEL, Trained
from training.market_learn import Learned
from training.provenance import provenance

LIMITS: Final = {"assets": 32, "hours": 2048}
"""Most assets, and most closes of each, in one request."""


def release(trained: Trained, version: str) -> Release:
    """Write the ensembles as one graph and collect its proofs.

    Parameters
    ----------
    trained : Trained
    version : str
        Such as ``1.0``.
    """
    learned = trained.learned
    contract = Contract(
        model=MODEL,
        version=version,
        family="market",
        task="classification",
        inputs=(
            Tensor(
                "features", "float32", ("batch", len(NAMES)),
                unit="as models/market/features.py defines each; requests bring prices, from which they are computed",
                missing="NaN is a feature that is not known; infinities are refused",
            ),
        ),
        outputs=(
            Tensor("probabilities", "float32", ("batch", len(LABELS)), unit="calibrated probability of each label"),
            Tensor("spread", "float32", ("batch", len(LABELS)), unit="how far apart forest and boosting are, 0 to 1"),
        ),
        labels=LABELS,
        thresholds={**THRESHOLDS, **dict(zip(LABELS, learned.thresholds.tolist(), strict=True))},
        features=NAMES,
        limits=LIMITS,
    )  # fmt: skip
    return Release(
        contract=contract,
        handler="handlers.market:MarketHandler",
        onnx=finished(learned.ensembles.graph(learned.calibration)),
        cases=tuple(_case(name, learned, rows) for name, rows in golden(learned.reference).items()),
        example=example(learned.week),
        reference=_reference(learned),
        provenance=provenance(trained),
        serving=served(pass_limit=64, batch=16),  # requests
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("held_out", learned, learned.reference),),
        decide=decisions(learned.thresholds),
        family_data={"peaks": learned.peaks.tolist()},
    )


def decisions(thresholds: npt.NDArray[np.float64]) -> Decide:
    """Return what is decided of each row: whether each alert is given, and how severe it is, [rows, 16]."""

    def decide(outputs: Arrays) -> npt.NDArray[Any]:
        probabilities: npt.NDArray[Any] = np.asarray(outputs["probabilities"], np.float64)
        decided: npt.NDArray[Any] = severities(probabilities, bounds_of()) + 4 * (probabilities >= thresholds)
        return decided

    return decide


def golden(rows: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Choose rows that a served model must answer as the trained one: usual ones and edge cases."""
    usual = rows[np.linspace(0, len(rows) - 1, min(32, len(rows))).astype(np.int64)]
    bare = usual.copy()
    bare[:, -len(CONTEXT) :] = np.nan
    holes = usual.copy()
    holes[np.arange(len(holes)), np.arange(len(holes)) % len(NAMES)] = np.nan
    far = np.array([[-1e30], [-1e3], [0], [1e3], [1e30]], np.float32) * np.ones(len(NAMES), np.float32)
    return {
        "usual": usual,
        "one_alone": usual[:1],
        "prices_alone": bare,
        "something_missing": holes,
        "nothing_known": np.full((1, len(NAMES)), np.nan, np.float32),
        "extremes": far,
    }


def example(week: History) -> dict[str, Any]:
    """Return a request body: a week of prices, in JSON's terms and a reader's precision."""
    prices = {
        name: [None if np.isnan(close) else float(f"{close:.7g}") for close in week.prices[:, k]]
        for k, name in enumerate(week.assets)
    }
    given = dict(zip(("fear_greed", "funding", "sentiment", "confidence"), week.context[-1].tolist(), strict=True))
    known = {name: float(f"{value:.4g}") for name, value in given.items() if np.isfinite(value)}
    return {"prices": prices, **known, "time": f"{week.times[-1].astype('datetime64[s]')}Z"}


def _case(name: str, learned: Learned, rows: npt.NDArray[np.float32]) -> Case:
    probabilities, spread = learned.answers(rows)
    outputs = {"probabilities": probabilities.astype(np.float32), "spread": spread.astype(np.float32)}
    return Case(name, {"features": np.ascontiguousarray(rows)}, outputs)


def _reference(learned: Learned) -> Arrays:
    """Return what drift is measured on: hours the ensembles had not seen when they answered.

    Returns
    -------
    dict of ndarray
        ``features`` float32 [N, 18]; ``probabilities`` float32 [N, 16] and what ``happened`` bool [N, 16];
        ``confidence`` float32 [N] of the most probable answer and which it is, ``predicted`` int64 [N].
    """
    return {
        "features": learned.reference,
        "probabilities": learned.probabilities.astype(np.float32),
        "happened": learned.happened,
        "confidence": learned.probabilities.max(axis=1).astype(np.float32),
        "predicted": learned.probabilities.argmax(axis=1).astype(np.int64),
    }

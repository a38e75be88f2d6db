"""The market: from trained ensembles to a release, everything its archive is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.market.alerts import LABELS, THRESHOLDS, bounds_of, severities
from models.market.checks import POSSIBLE
from models.market.features import CONTEXT, NAMES
from models.ranges import Range
from training.export.onnx_graph import finished
from training.market.ensembles import NESTING
from training.market.fit import Learned
from training.market.history import History
from training.market.recipe import MODEL, Trained
from training.packaging.archive import TABULAR_TOLERANCE, Decide, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

LIMITS: Final = {"assets": 32, "hours": 2048}
"""Most assets, and most closes of each, in one request."""

FEW_H: Final = 3.0
"""Hours that a close may be missing or stand still and be usual, even where all that was learned from is generated."""


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Says how likely large, joint or unusual movements of crypto prices are within 4 to 48 hours: for people who "
        "watch a market and want to be told when to look."
    ),
    not_for=(
        "Trading by itself, or as advice: it says nothing of up or down, and was never measured by profit. It sees "
        "hourly closes alone; what happens within an hour, and news, are not seen. Assets unlike the large ones that "
        "it was trained on, such as stablecoins, were not tried."
    ),
)


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
        possible=POSSIBLE,
        usual=find_usual(learned.extremes),
        summary=NAMES,
    )  # fmt: skip
    return Release(
        contract=contract,
        handler="handlers.market:MarketHandler",
        onnx=finished(learned.ensembles.graph(learned.calibration, NESTING)),
        cases=tuple(_case(name, learned, rows) for name, rows in golden(learned.reference).items()),
        example=example(learned.week),
        reference=_reference(learned),
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        serving=configure_serving(pass_limit=64, batch=16),  # requests
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("held_out", learned, learned.reference),),
        decide=decisions(learned.thresholds),
        family_data={"peaks": learned.peaks.tolist(), "assets": list(learned.week.assets)},
    )


def find_usual(extremes: Mapping[str, tuple[float, float]]) -> dict[str, Range]:
    """Return what is usual, of what was least and most in the hours learned from.

    Little of what is counted, such as missing closes, is never unusual; what was never known has no range.
    """
    lows = {name: low for name, (low, _) in extremes.items() if name in (*CONTEXT, "typical_move", "rising_share")}
    few = {name: FEW_H for name in extremes if name.endswith("_h") and name != "age_h"}
    return {name: (lows.get(name), max(high, few.get(name, high))) for name, (_, high) in extremes.items()}


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
        ``features`` float32 [N, 18], and each of them by its name; ``probabilities`` float32 [N, 16] and what
        ``happened`` bool [N, 16]; ``confidence`` float32 [N] of the most probable answer and which it is,
        ``predicted`` int64 [N].
    """
    return {
        "features": learned.reference,
        **columns_of(NAMES, learned.reference),
        "probabilities": learned.probabilities.astype(np.float32),
        "happened": learned.happened,
        "confidence": learned.probabilities.max(axis=1).astype(np.float32),
        "predicted": learned.probabilities.argmax(axis=1).astype(np.int64),
    }

"""Code health: from a trained model to a release, everything its archive is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from training.archive import TABULAR_TOLERANCE, Release, served
from training.code_council import Council
from training.code_graphs import council_graph, member_graph
from training.code_health import Trained
from training.code_health_fit import MEMBERS, TARGET
from training.data.code_health_rows import HORIZON_DAYS
from training.graphs import finished
from training.provenance import provenance

TASKS: Final = {
    "code_risk": "classification",
    "code_anomaly": "anomaly",
    "code_bugs": "classification",
    "code_impact": "regression",
    "code_meta": "classification",
}

LABELS: Final = {
    "code_risk": ("sound", "risky"),
    "code_anomaly": ("usual", "anomalous"),
    "code_bugs": ("clean", "bug"),
    "code_impact": (),
    "code_meta": ("sound", "risky"),
}
"""The second is what a model is asked about."""

UNITS: Final = {
    "probabilities": "probability of each label",
    "score": "2 ** -(path length / expected path length), from 0 to 1, higher is stranger",
    "value": "ln(1 + lines changed by what follows) / ln(10,001), from 0 to 1",
    "members": f"answers of {', '.join(MEMBERS)}, each in its own unit",
}

HANDLERS: Final = {"code_impact": "CodeImpactHandler", "code_meta": "CodeMetaHandler"}
"""Classes of `handlers.code_health`; the others are answered by its `CodeHealthHandler`."""

MUCH: Final = 0.5
"""The impact that is decided on when what serves is held against what was trained: 100 lines."""


def release(trained: Trained, version: str) -> Release:
    """Export a trained model and collect its proofs.

    Parameters
    ----------
    trained : Trained
    version : str
        Such as ``1.0``.
    """
    name, width = trained.name, len(trained.features)
    model = trained.model
    graph = council_graph(model, width) if isinstance(model, Council) else member_graph(model, width)
    outputs = {key: array.astype(np.float32) for key, array in model.outputs(trained.golden).items()}
    contract = Contract(
        model=name,
        version=version,
        family="code_health",
        task=TASKS[name],
        inputs=(
            Tensor(
                "features", "float32", ("batch", width),
                unit="as models/code_health/features.py defines each",
                missing="NaN is a missing feature; infinities are refused",
            ),
        ),
        outputs=tuple(
            Tensor(key, "float32", ("batch", array.shape[1]), unit=UNITS[key]) for key, array in outputs.items()
        ),
        labels=LABELS[name],
        thresholds=_thresholds(trained),
        features=trained.features,
    )  # fmt: skip
    return Release(
        contract=contract,
        handler=f"handlers.code_health:{HANDLERS.get(name, 'CodeHealthHandler')}",
        onnx=finished(graph),
        cases=tuple(_cases(trained)),
        example={"features": _example(trained)},
        reference=_reference(trained),
        provenance=provenance(trained),
        # Rows; one costs microseconds. Two workers answer a hundred of the council's at once 37 % faster than one does,
        # and single rows 2 % slower.
        serving=served(pass_limit=1024, workers=2 if isinstance(model, Council) else 1),
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("held_out", trained, trained.evaluation),),
        decide=decisions(trained.threshold if LABELS[name] else MUCH),
        family_data={
            "question": TARGET[name],
            "horizon_days": HORIZON_DAYS[TARGET[name]],
            "members": list(MEMBERS) if isinstance(model, Council) else [],
            "weights": model.weights.tolist() if isinstance(model, Council) else [],
        },
    )


def decisions(threshold: float) -> Callable[[Arrays], npt.NDArray[Any]]:
    """Return what decides: whether the last column of the first output reaches a threshold."""

    def decide(outputs: Arrays) -> npt.NDArray[Any]:
        first: npt.NDArray[Any] = next(iter(outputs.values()))
        return np.asarray(first[:, -1] >= np.float32(threshold))

    return decide


def _thresholds(trained: Trained) -> dict[str, float]:
    own = {LABELS[trained.name][1]: trained.threshold} if LABELS[trained.name] else {}
    return own | {name: value for name, value in trained.thresholds.items() if LABELS[name]}


def _cases(trained: Trained) -> list[Case]:
    """Return golden rows alone, the edge cases one by one, and all in one batch."""
    last = len(trained.golden)
    alone = [_case(f"row_{index}", trained, trained.golden[[index]]) for index in (0, *range(last - 6, last))]
    return [*alone, _case("batch", trained, trained.golden)]


def _case(name: str, trained: Trained, rows: npt.NDArray[np.float32]) -> Case:
    outputs = {key: array.astype(np.float32) for key, array in trained.model.outputs(rows).items()}
    return Case(name, {"features": rows}, outputs)


def _example(trained: Trained) -> dict[str, float | None]:
    """Return the held-out row with the fewest gaps, in JSON's terms and a reader's precision."""
    row = trained.golden[: len(trained.golden) - 6]
    fullest = row[int(np.isfinite(row).sum(axis=1).argmax())]
    values = [None if np.isnan(value) else float(f"{value:.4g}") for value in fullest]
    return dict(zip(trained.features, values, strict=True))


def _reference(trained: Trained) -> Arrays:
    """Return per held-out row what drift is measured on: its features, the answer, and the truth where it is known."""
    return {
        "features": trained.reference,
        "answer": trained.model.answer(trained.reference).astype(np.float32),
        "truth": trained.reference_truth,
    }

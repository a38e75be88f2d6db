"""Code health: from a trained model to a release, everything its archive is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.code_health.features import POSSIBLE
from models.code_health.summary import summary_of
from models.ranges import MISSING_SHARE
from models.summary import key_numbers
from training.code_health.fit import MEMBERS, TARGET
from training.code_health.graph import ensemble_graph, member_graph
from training.code_health.recipe import Trained
from training.code_health.rows import HORIZON_DAYS
from training.code_health.voting import VotingEnsemble
from training.export.onnx_graph import finished
from training.packaging.archive import TABULAR_TOLERANCE, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

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

INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Orders the files, commits or projects of a repository by how likely trouble is, so that people review first "
        "what most needs it. Its question is the model's own; `family.json` names it, and how many days it looks "
        "ahead."
    ),
    not_for=(
        "Judging developers, or letting changes pass unseen. Labels are hearsay: a repair counts when its message "
        "says so, and blame goes to who wrote the lines that were taken away. A threshold that was chosen on projects "
        "of one kind is not right for others: retrain on the repositories that are served, and look at the precision "
        "before anybody is paged."
    ),
)

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
    graph = ensemble_graph(model, width) if isinstance(model, VotingEnsemble) else member_graph(model, width)
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
        possible={key: POSSIBLE[key] for key in (MISSING_SHARE, *trained.features)},
        usual=trained.usual,
        summary=summary_of(trained.features),
    )  # fmt: skip
    return Release(
        contract=contract,
        handler=f"handlers.code_health:{HANDLERS.get(name, 'CodeHealthHandler')}",
        onnx=finished(graph),
        cases=tuple(_cases(trained)),
        example={"features": _example(trained)},
        reference=_reference(trained),
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        # Rows; one costs microseconds. Two workers answer a hundred of the ensemble's at once 37 % faster than one,
        # and single rows 2 % slower.
        serving=configure_serving(pass_limit=1024, workers=2 if isinstance(model, VotingEnsemble) else 1),
        tolerance=TABULAR_TOLERANCE,
        evaluation=(_case("held_out", trained, trained.evaluation),),
        decide=decisions(trained.threshold if LABELS[name] else MUCH),
        family_data={
            "question": TARGET[name],
            "horizon_days": HORIZON_DAYS[TARGET[name]],
            "members": list(MEMBERS) if isinstance(model, VotingEnsemble) else [],
            "weights": model.weights.tolist() if isinstance(model, VotingEnsemble) else [],
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
    """Return what drift is measured on: what the evaluated fit answered to held-out rows.

    Returns
    -------
    dict of ndarray
        ``features`` float32 [N, F], and ``summary_of`` them by name; the ``answer`` float32 [N], the label that it is
        by the served threshold, ``predicted`` int64 [N] where there are labels; the ``truth``, where it is known.
    """
    names = summary_of(trained.features)
    rows, answers = np.asarray(trained.reference, np.float32), trained.reference_answers
    labelled = (
        {"predicted": (answers >= np.float32(trained.threshold)).astype(np.int64)} if LABELS[trained.name] else {}
    )
    return {
        "features": rows,
        "answer": answers,
        "truth": trained.reference_truth,
        **labelled,
        **columns_of(names, key_numbers(rows, trained.features, names)),
    }

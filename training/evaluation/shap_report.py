"""What a model goes by: SHAP values of its features, as a picture and a table beside the run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from training.tracking import Run

MOST_SHOWN = 20


@dataclass(frozen=True)
class Importance:
    """One feature: its mean absolute SHAP value, and the correlation of its value with that (-1 to 1)."""

    name: str
    weight: float
    direction: float


def explain(
    run: Run, estimator: Any, rows: npt.NDArray[Any], names: Sequence[str], called: str = ""
) -> list[Importance]:
    """Explain an estimator on some rows, and log a picture and a table.

    Trees are explained exactly (TreeExplainer; Lundberg et al., 2020), anything else by permutation of its answers
    (Štrumbelj & Kononenko, 2014), a few hundred calls a row: pass about 200 rows of trees, 50 of anything else.

    Parameters
    ----------
    run
        Where to log.
    estimator
        Fitted: a classifier (its last class is explained; all of them when there are more than two), a regressor, or
        an IsolationForest.
    rows
        float [rows, features]; the first hundred are also the background.
    names
        Of the features.
    called
        What the files are called after, where a run explains several estimators.

    Returns
    -------
    list of Importance
        The weightiest first.
    """
    values = shap_values(estimator, rows)  # (rows, features)
    weights = np.abs(values).mean(axis=0)
    found = sorted(
        (Importance(name, float(weights[k]), _direction(rows[:, k], values[:, k])) for k, name in enumerate(names)),
        key=lambda one: -one.weight,
    )
    prefix = f"{called}_" if called else ""
    lines = [
        "feature\tmean_abs_shap\tdirection",
        *(f"{one.name}\t{one.weight:.6g}\t{one.direction:+.2f}" for one in found),
    ]
    run.text("\n".join(lines) + "\n", f"{prefix}features.tsv")
    run.figure(_picture(values, rows, names, weights), f"{prefix}shap")
    return found


def shap_values(estimator: Any, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return SHAP values, [rows, features]; of several classes, the one that each feature moves most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap warns of other libraries' deprecations
        import shap

        try:
            values = np.asarray(shap.TreeExplainer(estimator).shap_values(rows, check_additivity=False))
        except Exception:  # shap raises its own and other libraries' errors for what is not trees
            answers = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
            masker = shap.maskers.Independent(rows, max_samples=50)
            found = shap.explainers.Permutation(answers, masker, seed=0)(
                rows, max_evals=2 * rows.shape[1] + 1, silent=True
            )
            values = np.asarray(found.values)
    if values.ndim == 3:  # (rows, features, classes)
        if values.shape[2] == 2:
            values = values[:, :, 1]
        else:
            most = np.abs(values).argmax(axis=2)[:, :, None]
            values = np.take_along_axis(values, most, axis=2)[:, :, 0]
    return values.astype(np.float64)


def _direction(feature: npt.NDArray[Any], values: npt.NDArray[Any]) -> float:
    seen = np.isfinite(feature)
    if seen.sum() < 2 or np.ptp(feature[seen]) == 0 or np.ptp(values[seen]) == 0:
        return 0.0
    return float(np.corrcoef(feature[seen], values[seen])[0, 1])


def _picture(
    values: npt.NDArray[Any], rows: npt.NDArray[Any], names: Sequence[str], weights: npt.NDArray[Any]
) -> Figure:
    """Draw each row's SHAP values per feature, coloured by whether the feature was low or high."""
    shown = np.argsort(-weights, kind="stable")[:MOST_SHOWN][::-1]
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(shown)), layout="constrained")
    axes = figure.subplots()
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(rows))
    for place, k in enumerate(shown):
        rank = np.argsort(np.argsort(rows[:, k])) / max(1, len(rows) - 1)
        points = axes.scatter(values[:, k], place + spread, c=rank, cmap="coolwarm", s=6, vmin=0, vmax=1)
    axes.axvline(0, color="grey", linewidth=0.5)
    axes.set_yticks(range(len(shown)), [names[k] for k in shown], fontsize=7)
    axes.set_xlabel("SHAP value: what the feature adds to the answer")
    figure.colorbar(points, label="feature's rank among the rows, low to high")
    return figure

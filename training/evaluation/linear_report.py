"""What a linear model on a bag goes by: exact SHAP values of groups of columns, and the words that tell each class.

Of a linear model on independent columns the SHAP value of a column is its weight times its value's distance from the
mean (Lundberg & Lee, 2017), and those of a group add up. So what a group adds to the scores is all one has to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from training.tracking import Run

MOST_WORDS = 12

Floats = npt.NDArray[np.floating[Any]]


def log_groups(run: Run, parts: Mapping[str, Floats], bias: Floats) -> dict[str, float]:
    """Log a picture and a table of what each group of columns adds to the answered class; return the means.

    Parameters
    ----------
    parts
        By group, what its columns add to the scores of rows, [N, classes], in natural log-odds.
    bias
        What the model adds to them for every row, [classes].

    Returns
    -------
    dict of str to float
        By group, the mean absolute SHAP value of the class that the model answers.
    """
    weights = group_weights(parts, bias)
    order = sorted(weights, key=lambda name: -weights[name])
    rows = [f"{name}\t{weights[name]:.4f}" for name in order]
    run.text("\n".join(["group\tmean_abs_shap", *rows]) + "\n", "groups.tsv")
    run.figure(_picture(weights, order), "shap")
    return weights


def group_weights(parts: Mapping[str, Floats], bias: Floats) -> dict[str, float]:
    """Return the mean absolute SHAP value of each group for the answered class; arguments as for `log_groups`."""
    total = np.sum(list(parts.values()), axis=0) + bias
    answers = total.argmax(axis=1)
    weights = {}
    for name, scores in parts.items():
        chosen = scores[np.arange(len(scores)), answers] - scores.mean(axis=0)[answers]
        weights[name] = float(np.abs(chosen).mean())
    return weights


def telling_words(words: Sequence[str], scores: Floats, classes: Sequence[str], head: str) -> str:
    """Return per class the words that alone raise its score most above the others' mean, as a table.

    Parameters
    ----------
    words
        W words.
    scores
        Of each alone, [W, classes].
    classes
        Their names.
    head
        What a class is called in the table's first line.
    """
    above = scores - scores.mean(axis=1, keepdims=True)
    lines = [f"{head}\twords"]
    for column, name in enumerate(classes):
        best = np.argsort(-above[:, column], kind="stable")[:MOST_WORDS].tolist()
        lines.append(f"{name}\t{', '.join(words[at] for at in best)}")
    return "\n".join(lines) + "\n"


def _picture(weights: Mapping[str, float], order: Sequence[str]) -> Figure:
    figure = Figure(figsize=(6, 0.35 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name in reversed(order)], [weights[name] for name in reversed(order)], color="#4878a8")
    axes.set_xlabel("mean |SHAP value|, natural log-odds of the answer")
    return figure

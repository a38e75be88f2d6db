"""Pictures of a training run: learning curves, the confusion matrix and reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from training.evaluation.classification import Report
from training.evaluation.reliability import Reliability
from training.neural.schedule import Epoch


def learning_curves(history: Sequence[Epoch]) -> Figure:
    """Draw training loss and watched score over epochs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    numbers = [epoch.number for epoch in history]
    left.plot(numbers, [epoch.loss for epoch in history], color="tab:blue", label="training loss")
    left.set_xlabel("epoch")
    left.set_ylabel("training loss", color="tab:blue")
    right = left.twinx()
    right.plot(numbers, [epoch.score for epoch in history], color="tab:orange", label="validation")
    right.set_ylabel("validation score (EMA weights)", color="tab:orange")
    right.set_ylim(0, 1)
    return figure


def confusion_matrix(report: Report, signs: Sequence[str]) -> Figure:
    """Draw the shares of predictions per true sign."""
    shares = report.confusion / np.maximum(report.confusion.sum(1, keepdims=True), 1)
    inches = max(5.0, 0.22 * len(signs) + 2)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(signs)), signs, rotation=90, fontsize=6)
    axes.set_yticks(range(len(signs)), signs, fontsize=6)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, shrink=0.6, label="share of the true sign's clips")
    return figure


def reliability_diagram(found: Mapping[str, Reliability]) -> Figure:
    """Draw how often what was stated came true, beside each other for several questions, with the rows of each bin.

    Points on the diagonal are probabilities that mean what they say; below it they are too sure.
    """
    figure = Figure(figsize=(max(4.5, 3.5 * len(found)), 4.8), layout="constrained")
    axes = figure.subplots(2, len(found), sharex=True, squeeze=False, height_ratios=(3, 1))
    for column, (name, one) in enumerate(found.items()):
        upper, lower = axes[:, column]
        upper.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
        upper.plot(one.predicted, one.observed, color="tab:blue", marker="o", markersize=4)
        upper.set_title(f"{name}: calibration error {one.error:.3f}", fontsize=9)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        lower.bar(one.predicted, one.counts, width=0.01, color="tab:blue")
        lower.set_xlabel("stated probability, mean of the bin")
    axes[0, 0].set_ylabel("share that came true")
    axes[1, 0].set_ylabel("rows")
    return figure

"""Pictures of a training run: learning curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from training.evaluate import Report
from training.loop import Epoch


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

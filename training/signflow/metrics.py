"""The figures of a fit on clips that it has not seen, and whether it is as good for some of them as for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.signflow.network import SignFlow
from training.evaluation import plots
from training.evaluation.classification import evaluate
from training.evaluation.slices import SliceReport, slice_report
from training.neural.schedule import Epoch
from training.signflow.clips import Clips
from training.signflow.fit import probabilities
from training.signflow.robustness import describe, measure_robustness
from training.tracking import Run

FRAMES: Final = (16, 48, 96)
"""Where the slices by length part."""


def compare_groups(clips: Clips, answers: npt.NDArray[np.floating[Any]]) -> SliceReport:
    """Compare the share of right answers by sign, by signer and by length of the clip.

    Parameters
    ----------
    clips
        N clips that the network has not seen.
    answers
        What it thinks of them, float [N, signs].
    """
    lengths = np.array(["below 16", "16 to 47", "48 to 95", "96 and more"])
    return slice_report(
        (answers.argmax(1) == clips.labels).astype(np.float64),
        {
            "sign": np.array(clips.signs)[clips.labels],
            "signer": clips.signers,
            "frames": lengths[np.digitize(clips.lengths, FRAMES)],
        },
    )


def report_fit(
    run: Run, model: SignFlow, history: Sequence[Epoch], unseen: Clips, console: Console
) -> tuple[dict[str, float], SliceReport]:
    """Log and print how a fit does on clips of signers it has not seen.

    Returns
    -------
    metrics, slices
        Figures by name, and by group of clips.
    """
    answers = probabilities(model, unseen.sequences)
    report = evaluate(answers, unseen.labels, unseen.signs)
    console.print(f"on {len(set(unseen.signers.tolist()))} unseen signers, {report}", highlight=False)
    robustness = measure_robustness(lambda asked: probabilities(model, asked).argmax(1), unseen)
    console.print(f"the same answer when disturbed: {describe(robustness)}", highlight=False)
    metrics = {**report.metrics, **robustness}
    run.metrics(metrics, len(history))
    run.text("\n".join(f"{sign}\t{f1:.4f}" for sign, f1 in report.sign_f1.items()), "sign_f1.tsv")
    compared = compare_groups(unseen, answers)
    run.text(compared.markdown(), "slices.md")
    run.figure(plots.learning_curves(history), "learning_curves")
    run.figure(plots.confusion_matrix(report, unseen.signs), "confusion_matrix")
    run.figure(plots.reliability_diagram({"first choice": report.reliability}), "reliability")
    return metrics, compared

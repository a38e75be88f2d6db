"""Does a technique help? Arms at equal cost, the same unseen people for every arm, several seeds, a valid interval.

An experiment is a module of `training/experiments/` with

    add_arguments(parser)                  its own options, where it has any
    arms(arguments, data) -> list[Arm]     what is compared; the first arm is what the others are measured against
    figure(arms, outcomes, title)          its picture, where `intervals` does not tell it; `differences` may

Every finished (arm, seed) is a line of a `.jsonl` file, so that an interrupted experiment continues, and several
processes may share one. Seeds pair the arms: arm A and arm B of one seed met the same training and test people, and
the interval is Student's over the seeds' differences (three seeds make it wide, and that is the truth).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from torch import nn

from models.signflow.network import SignFlow, configure
from training.data import splits
from training.data.manifest import SYNTHETIC
from training.evaluation.classification import evaluate
from training.neural import checkpoint
from training.signflow import recorded
from training.signflow.clips import Clips
from training.signflow.fit import RECORDED, USUAL, Recipe, Technique, fit, probabilities
from training.signflow.synthetic import signing as synthetic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDS = 4
"""A seed's test people are one fold of four: seed 0 the first, seed 4 the first again with other chance."""


@dataclass(frozen=True)
class Arm:
    """One way of doing it.

    Attributes
    ----------
    name
        As the table says it.
    run
        From a seed to metrics; all chance comes from the seed.
    against
        Name of the arm that it is compared with, empty for the first.
    """

    name: str
    run: Callable[[int], Mapping[str, float]]
    against: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one arm came to with one seed."""

    arm: str
    seed: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the half width of its 95 % interval (Student's t); infinite for one seed."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate the mean that values are drawn around."""
        count = len(values)
        if count < 2:
            return cls(float(np.mean(values)), math.inf)
        half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
        return cls(float(np.mean(values)), half)

    def __str__(self) -> str:
        """Return it as the tables show it."""
        return f"{self.mean:.3f} ± {self.half:.3f}" if math.isfinite(self.half) else f"{self.mean:.3f}"


@dataclass(frozen=True)
class Data:
    """What an experiment is run on: its name in tables, and the clips."""

    name: str
    clips: Clips

    def unseen(self, seed: int) -> tuple[Clips, Clips]:
        """Return the clips to learn from and those of the people a seed tests on."""
        train, test = splits.folds(self.clips.signers, FOLDS)[seed % FOLDS]
        return self.clips.select(train), self.clips.select(test)


def load(path: str, synthesis: synthetic.Synthesis | None = None) -> Data:
    """Return generated clips for "synthetic", otherwise a recorded file's."""
    if path == SYNTHETIC:
        return Data(SYNTHETIC, synthetic.generate(synthesis or synthetic.Synthesis()))
    clips, _ = recorded.read(Path(path))
    return Data(Path(path).stem, clips)


def recipe(data: Data, clips: Clips, seed: int, shown: int, size: str = "small") -> Recipe:
    """Return how to train on some clips of the data: as many epochs as show about `shown` clips, without early stop."""
    usual = Recipe() if data.name == SYNTHETIC else RECORDED
    schedule = replace(usual.schedule, epochs=max(1, round(shown / len(clips))), seed=seed, patience=0)
    return replace(usual, size=size, schedule=schedule)


def trained(
    data: Data, seed: int, how: Recipe, folder: Path, technique: Technique = USUAL, name: str = "usual"
) -> SignFlow:
    """Return a network trained on what a seed teaches; kept in a folder, so that experiments share it.

    Parameters
    ----------
    data, seed, how, technique
        What to learn from, and how.
    folder
        Where trained weights are kept.
    name
        Of the technique; another one's weights are not taken for its own.
    """
    return trained_at_cost(data, seed, how, folder, technique, name)[0]


def trained_at_cost(
    data: Data, seed: int, how: Recipe, folder: Path, technique: Technique = USUAL, name: str = "usual"
) -> tuple[SignFlow, float]:
    """Return, for the arguments of `trained`, also the processor seconds that it took; NaN if it was interrupted."""
    train, _ = data.unseen(seed)
    config = configure(how.size, len(train.signs), how.dropout)
    identity = json.dumps([data.name, len(data.clips), seed, name, asdict(how), asdict(config)], sort_keys=True)
    file = folder / f"{data.name}-{how.size}-{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.safetensors"
    if file.exists():
        model = SignFlow(config)
        weights, note = checkpoint.read(file)
        model.load_state_dict(weights)
        return model.eval(), note["processor_s"]
    unfinished = file.with_suffix(".part.safetensors")
    started = math.nan if unfinished.exists() else time.process_time()
    model, _ = fit(train, None, how, technique, checkpoint=unfinished)
    spent = time.process_time() - started
    checkpoint.write(file, model.state_dict(), {"processor_s": spent})
    unfinished.unlink()
    return model, spent


def tested(model: nn.Module, test: Clips) -> dict[str, float]:
    """Return a network's accuracy, macro-F1 and calibration error on the people that a seed tests on."""
    metrics = evaluate(probabilities(model, test.sequences), test.labels, test.signs).metrics
    return {name: metrics[name] for name in ("accuracy", "macro_f1", "calibration_error")}


def run(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    results: Path,
    report: Callable[[str], None],
    identity: Mapping[str, Any] | None = None,
) -> list[Outcome]:
    """Run what a results file lacks, seed by seed, and return all outcomes of these arms and seeds.

    Parameters
    ----------
    arms
        In the order of the table.
    seeds
        Each arm is run with each.
    results
        A `.jsonl` file, appended to.
    report
        Called with each outcome, as a line of text.
    identity
        The options that the arms depend on; outcomes of other options in the file are left alone.
    """
    options = {name: str(value) for name, value in (identity or {}).items()}
    results.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for arm in arms:
            if any((one.arm, one.seed) == (arm.name, seed) for one in read(results, options)):
                continue
            metrics = {name: float(value) for name, value in arm.run(seed).items()}
            with results.open("a") as file:
                file.write(json.dumps({"arm": arm.name, "seed": seed, "metrics": metrics, "options": options}) + "\n")
            report(f"seed {seed}, {arm.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
    names = {arm.name for arm in arms}
    return [one for one in read(results, options) if one.arm in names and one.seed in seeds]


def read(results: Path, options: Mapping[str, str]) -> list[Outcome]:
    """Return the outcomes of these options in a results file; none where there is no file."""
    lines = map(json.loads, results.read_text().splitlines()) if results.exists() else ()
    return [Outcome(one["arm"], one["seed"], one["metrics"]) for one in lines if one["options"] == options]


def estimates(arms: Sequence[Arm], outcomes: Sequence[Outcome], metric: str) -> dict[str, Estimate]:
    """Return each arm's mean of a metric."""
    of = _by_arm(outcomes, metric)
    return {arm.name: Estimate.of(list(of[arm.name].values())) for arm in arms if of.get(arm.name)}


def markdown(arms: Sequence[Arm], outcomes: Sequence[Outcome]) -> str:
    """Return a table in Markdown: every metric of every arm, and the first metric's paired difference."""
    metrics = list(outcomes[0].metrics)
    lines = [
        "| arm | seeds | " + " | ".join(metrics) + f" | {metrics[0]}: difference |",
        "|---" * (len(metrics) + 3) + "|",
    ]
    first = _by_arm(outcomes, metrics[0])
    for arm in arms:
        if not (own := first.get(arm.name)):
            continue
        means = (estimates(arms, outcomes, metric).get(arm.name) for metric in metrics)
        cells = ["-" if mean is None else str(mean) for mean in means]
        other = first.get(arm.against or arms[0].name, {})
        both = sorted(own.keys() & other.keys())
        apart = [own[seed] - other[seed] for seed in both]
        difference = "" if arm is arms[0] or not apart else f"{Estimate.of(apart)} to {arm.against or arms[0].name}"
        lines.append(f"| {arm.name} | {len(own)} | " + " | ".join(cells) + f" | {difference} |")
    return "\n".join(lines)


def intervals(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw the first metric of each arm: the mean with its interval, and every seed as a dot."""
    from matplotlib.figure import Figure

    metric = next(iter(outcomes[0].metrics))
    of = _by_arm(outcomes, metric)
    shown = [arm.name for arm in arms if of.get(arm.name)]
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(shown):
        values = list(of[name].values())
        estimate = Estimate.of(values)
        axes.plot(values, [row] * len(values), "o", color="tab:gray", alpha=0.6, markersize=4)
        half = estimate.half if math.isfinite(estimate.half) else 0.0
        axes.errorbar(estimate.mean, row, xerr=half, fmt="s", color="tab:blue", capsize=4)
    axes.set_yticks(range(len(shown)), shown)
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} on unseen people, mean and 95 % interval")
    axes.set_title(title)
    return figure


def differences(arms: Sequence[Arm], outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw what the first metric of each arm gains over the first arm's, seed by seed, as `intervals` does."""
    metric = next(iter(outcomes[0].metrics))
    usual = _by_arm(outcomes, metric)[arms[0].name]
    gained = f"{metric} gained over {arms[0].name}"
    others = [one for one in outcomes if one.arm != arms[0].name and one.seed in usual]
    apart = [Outcome(one.arm, one.seed, {gained: one.metrics[metric] - usual[one.seed]}) for one in others]
    figure = intervals(arms, apart, title)
    figure.axes[0].axvline(0, color="tab:gray", linewidth=1)
    return figure


def _by_arm(outcomes: Sequence[Outcome], metric: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for one in outcomes:
        if not math.isnan(one.metrics[metric]):  # it was not measured
            found.setdefault(one.arm, {})[one.seed] = one.metrics[metric]
    return found

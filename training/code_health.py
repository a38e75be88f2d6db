"""Code health: from rows of features to five models that are ready to serve.

rows ── two dates, projects kept out ──> fit · choose · test ──> members ──> council

`python scripts/train.py code_health` trains all five on generated projects; ``--data FILE`` takes what
``scripts/extract_code_features.py`` wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.code_health.features import READS, columns
from training import features_report, tracking
from training.arguments import add_search, add_shared
from training.code_council import Council, Member
from training.code_health_fit import (
    MEMBERS,
    MODELS,
    TARGET,
    Fitted,
    Parts,
    cuts,
    fit,
    fit_council,
    parts,
    plain,
)
from training.code_health_scores import classified, regressed, slices
from training.data import code_health_rows, code_health_synthetic, manifest, quality
from training.data.code_health_rows import Rows

SYNTHETIC = "synthetic"

MOST_EVALUATED, MOST_REFERENCES = 4096, 512

NEAR = 0.2
"""How far off an impact may be to count as right when slices are compared."""


@dataclass(frozen=True)
class Options:
    """What to train on, and how.

    Attributes
    ----------
    data
        "synthetic", or a file of features with their targets.
    home
        Folder of the local tracking database.
    models
        Those of `MODELS` that are wanted.
    synthesis
        What to generate.
    trials, budget_s
        Of each model's search.
    explained
        Rows that SHAP values are computed of; 0 for none.
    seed
        Chooses the projects that are kept out.
    on_bad
        Whether bad rows are skipped or all is refused.
    """

    data: str = SYNTHETIC
    home: Path = Path(".marina")
    models: tuple[str, ...] = MODELS
    synthesis: code_health_synthetic.Synthesis = field(default_factory=code_health_synthetic.Synthesis)
    trials: int = 4
    budget_s: float = 20.0
    explained: int = 150
    seed: int = 0
    on_bad: quality.OnBad = "skip"


@dataclass(frozen=True)
class Trained:
    """A trained model with what its certificate and provenance are made of.

    Attributes
    ----------
    name
        Served name.
    model
        What was trained.
    features
        Names of its features, in the order of its columns.
    threshold
        From where on its answer is yes; 0 for a value.
    golden, evaluation, reference
        Rows float32 [N, features]: golden inputs with edge cases, held-out rows for decisions, and held-out rows for
        reference distributions.
    reference_truth
        float32 [N], NaN where it is not known.
    thresholds
        Of the members, for a council.
    metrics
        On later rows, and with ``unseen_`` before them on projects never seen.
    params, data_manifest_sha256, mlflow_run_id
        Of the run.
    """

    name: str
    model: Member | Council
    features: tuple[str, ...]
    threshold: float
    golden: npt.NDArray[np.float32]
    evaluation: npt.NDArray[np.float32]
    reference: npt.NDArray[np.float32]
    reference_truth: npt.NDArray[np.float32]
    thresholds: Mapping[str, float]
    metrics: Mapping[str, float]
    params: Mapping[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str


def train(options: Options, console: Console | None = None) -> dict[str, Trained]:
    """Train the models that are wanted; each is a run in MLflow.

    Parameters
    ----------
    options
        What to train on, and how.
    console
        Where progress is shown; none is shown without one.

    Raises
    ------
    training.code_health_fit.TooFewRowsError
        If the data is too short or too few for an honest test.
    training.data.quality.BadDataError
        If the data is bad and `options` says to refuse it.
    FileNotFoundError
        If there is no data at the path.
    """
    console = console or Console(quiet=True)
    rows, data = load(options, console)
    at = cuts(rows)
    wanted = [name for name in MODELS if name in options.models]
    needed = MEMBERS if "code_meta" in wanted else wanted
    fitted: dict[str, Fitted] = {}
    trained: dict[str, Trained] = {}
    for name in [*(name for name in MEMBERS if name in needed), *(name for name in wanted if name == "code_meta")]:
        divided = parts(rows, TARGET[name], at, options.seed)
        params = _params(options, rows, divided)
        with tracking.run("code_health", options.home, params, data, name) as run:
            if name == "code_meta":
                fitted[name] = fit_council(fitted, divided)
            else:
                fitted[name] = fit(name, divided, run, console, trials=options.trials, budget_s=options.budget_s)
            metrics = evaluate(name, fitted[name], divided)
            run.metrics(metrics)
            _report(run, name, fitted[name], divided, options.explained)
        console.print(f"{name}: {described(metrics)}", highlight=False)
        if name in wanted:
            trained[name] = _trained(name, fitted, divided, metrics, params, data.sha256, run.id, options.seed)
    return {name: trained[name] for name in wanted}


def load(options: Options, console: Console) -> tuple[Rows, manifest.Manifest]:
    """Generate rows, or read and check them, and hash what was used."""
    if options.data == SYNTHETIC:
        rows = code_health_synthetic.generate(options.synthesis)
        return rows, manifest.of_arrays(rows.arrays(), SYNTHETIC)
    path = Path(options.data)
    rows, faults = code_health_rows.read(path, on_bad=options.on_bad)
    if faults:
        console.print(quality.report(faults), highlight=False)
    return rows, manifest.of_files(code_health_rows.files(path), path)


def evaluate(name: str, fitted: Fitted, divided: Parts) -> dict[str, float]:
    """Score a model, and the plain baseline, on later rows and on unseen projects."""
    target, its = TARGET[name], columns(READS[name])
    scores: dict[str, float] = {}
    for prefix, part in (("", divided.later), ("unseen_", divided.unseen)):
        known = part.known(target)
        if len(known) < 20:
            continue
        truth, answers = known.targets[target], fitted.model.answer(known.features[:, its])
        if target == "impact":
            found = regressed(truth, answers, float(divided.fitting.targets[target].mean()))
            found["plain_rmse"] = regressed(truth, plain(target, divided.fitting, known, READS[name]), 0.0)["rmse"]
        else:
            found = classified(truth, answers, fitted.threshold)
            if target == "anomaly":  # the plain baseline for the unusual: the number of lines changed
                lines = known.features[:, columns(("lines_added", "lines_deleted"))].sum(axis=1)
                found["plain_auc"] = classified(truth, np.nan_to_num(lines).astype(np.float64), 0.0)["auc"]
            else:
                found["plain_auc"] = classified(truth, plain(target, divided.fitting, known, READS[name]), 0.5)["auc"]
        scores |= {prefix + key: value for key, value in found.items()}
    return scores


def described(metrics: Mapping[str, float]) -> str:
    """Return a model's scores in a line."""
    if "rmse" in metrics:
        said = f"RMSE {metrics['rmse']:.3f} (linear {metrics['plain_rmse']:.3f}, mean {metrics['rmse_of_mean']:.3f})"
        unseen = f"{metrics['unseen_rmse']:.3f}" if "unseen_rmse" in metrics else "none"
    elif "auc" in metrics:
        said = (
            f"AUC {metrics['auc']:.3f} (plain {metrics['plain_auc']:.3f}), accuracy {metrics['accuracy']:.3f} "
            f"(majority {metrics['majority']:.3f}), precision {metrics['precision']:.2f}, "
            f"recall {metrics['recall']:.2f}"
        )
        unseen = f"AUC {metrics['unseen_auc']:.3f}" if "unseen_auc" in metrics else "none"
    else:
        return "no targets known to be scored by"
    return f"{said}; on projects never seen: {unseen}"


def golden(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Choose rows that a served model must answer as the trained one: usual ones, and six edge cases.

    Parameters
    ----------
    rows
        float32 [N, features], held out.

    Returns
    -------
    ndarray
        float32 [at most 38, features].
    """
    usual = rows[np.linspace(0, len(rows) - 1, min(32, len(rows))).astype(np.int64)]
    width = rows.shape[1]
    gaps = usual[0].copy()
    gaps[::2] = np.nan
    edges = [np.full(width, value, np.float32) for value in (np.nan, 0.0, -1.0, 1e30, -1e30)]
    return np.concatenate([usual, [*edges, gaps]]).astype(np.float32)


def _report(run: tracking.Run, name: str, fitted: Fitted, divided: Parts, explained: int) -> None:
    """Log how the model was chosen, whether it is as good for everybody, and what it goes by."""
    if fitted.found is not None:
        run.text(fitted.found.markdown(), "search.md")
    target, its = TARGET[name], columns(READS[name])
    known = divided.later.known(target)
    if len(known):
        answers, truth = fitted.model.answer(known.features[:, its]), known.targets[target]
        right = np.abs(answers - truth) < NEAR if target == "impact" else (answers >= fitted.threshold) == (truth == 1)
        report = slices(known, right)
        run.text(report.markdown(), "slices.md")
        run.metrics({"slices": len(report.slices), "slices_worse": len(report.worse)})
    if isinstance(fitted.model, Council):
        weights = zip(MEMBERS, fitted.model.weights.tolist(), strict=True)
        run.text("\n".join(f"{member}\t{weight:.4f}" for member, weight in weights) + "\n", "weights.tsv")
    elif explained:
        few = divided.later.features[:explained, its]
        for part, estimator, rows in _explainable(fitted.model.estimator, few):
            features_report.explain(run, estimator, rows, READS[name], part)


def _explainable(estimator: Any, rows: npt.NDArray[np.float32]) -> list[tuple[str, Any, npt.NDArray[np.float32]]]:
    """Take an estimator apart into what SHAP can explain exactly: names, estimators, and rows as each sees them."""
    if hasattr(estimator, "named_estimators_"):
        return [(name, part, rows) for name, part in estimator.named_estimators_.items()]
    if type(estimator[-1]).__name__ == "MLPRegressor":  # explained by asking it often
        return [("", estimator, rows[: len(rows) // 5])]
    return [("", estimator[-1], estimator[:-1].transform(rows))]


def _trained(
    name: str,
    fitted: Mapping[str, Fitted],
    divided: Parts,
    metrics: Mapping[str, float],
    params: Mapping[str, str | int | float],
    data_sha256: str,
    run_id: str,
    seed: int,
) -> Trained:
    its = columns(READS[name])
    held_out = divided.later
    shuffled = np.random.default_rng(seed).permutation(len(held_out))
    reference = held_out.select(shuffled[:MOST_REFERENCES])
    together = np.concatenate([held_out.features, divided.unseen.features, divided.choosing.features])[:, its]
    return Trained(
        name=name,
        model=fitted[name].model,
        features=READS[name],
        threshold=fitted[name].threshold,
        golden=golden(held_out.features[:, its]),
        evaluation=together[:MOST_EVALUATED],
        reference=reference.features[:, its],
        reference_truth=reference.targets[TARGET[name]],
        thresholds={one: fitted[one].threshold for one in MEMBERS} if name == "code_meta" else {},
        metrics=metrics,
        params=params,
        data_manifest_sha256=data_sha256,
        mlflow_run_id=run_id,
    )


def _params(options: Options, rows: Rows, divided: Parts) -> dict[str, str | int | float]:
    return {
        "data": Path(options.data).name,
        "rows": len(rows),
        "projects": len(np.unique(rows.projects)),
        "rows_fitted": len(divided.fitting),
        "rows_choosing": len(divided.choosing),
        "rows_later": len(divided.later),
        "rows_unseen": len(divided.unseen),
        "trials": options.trials,
        "budget_s": options.budget_s,
        "seed": options.seed,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add code health's options to a command line."""
    default, what = Options(), code_health_synthetic.Synthesis()
    add_shared(parser, "a table that scripts/extract_code_features.py wrote, or a folder of them")
    add_search(parser, default.trials, default.budget_s)
    parser.add_argument(
        "--models", nargs="+", default=MODELS, choices=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}"
    )
    parser.add_argument("--projects", type=int, default=what.projects, help="synthetic projects (default: %(default)s)")
    parser.add_argument("--years", type=float, default=what.years, help="synthetic years (default: %(default)s)")


def from_arguments(arguments: argparse.Namespace, home: Path) -> Options:
    """Return the options that a command line means."""
    return Options(
        data=arguments.data,
        home=home,
        models=tuple(arguments.models),
        synthesis=code_health_synthetic.Synthesis(arguments.projects, arguments.years, seed=arguments.seed),
        trials=arguments.trials,
        budget_s=arguments.budget_s,
        seed=arguments.seed,
        on_bad=arguments.on_bad,
    )

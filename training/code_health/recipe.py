"""Code health: from rows of features to five models that are ready to serve.

rows ─┬─ before a date, projects kept out ─> search, members, ensemble ─ evaluate on later rows ─┬─> Trained
      └─ all ─> members, ensemble ───────────────────────────────────────────────────────────────┘

`python scripts/train.py code_health` trains all five on generated projects; ``--data FILE`` takes what
``scripts/extract_code_features.py`` wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from marina.rollout.promotion import Rule
from models.code_health.features import READS, columns
from models.ranges import Range, measure_usual
from training import family, tracking
from training.cli import add_search, add_shared, shared_options
from training.code_health import rows as code_health_rows
from training.code_health.fit import (
    MEMBERS,
    MODELS,
    TARGET,
    Division,
    Fitted,
    Parts,
    choose,
    cuts,
    fit,
    fit_voting_ensemble,
    keep_projects,
    last_cut,
    parts,
    plain,
)
from training.code_health.metrics import classified, regressed, slices
from training.code_health.rows import Rows, select_possible
from training.code_health.synthetic import rows as code_health_synthetic
from training.code_health.voting import Member, VotingEnsemble
from training.data import manifest
from training.data.loading import load_recorded
from training.data.manifest import SYNTHETIC
from training.data.reading.reader import TableReader
from training.data.reading.style import add_style
from training.data.splits import MOST_REFERENCES
from training.evaluation import plots as pictures
from training.evaluation import shap_report
from training.evaluation.reliability import measure_reliability
from training.evaluation.slices import SliceReport

MOST_EVALUATED = 4096
RULES = {
    "code_risk": Rule("auc", 0.6),
    "code_anomaly": Rule("auc", 0.55),
    "code_bugs": Rule("auc", 0.6),
    "code_impact": Rule("rmse", 0.5, less_is_better=True),
    "code_meta": Rule("auc", 0.6),
}

NEAR = 0.2
"""How far off an impact may be to count as right when slices are compared."""


@dataclass(frozen=True, kw_only=True)
class Options(family.DataOptions, family.SearchOptions):
    """What to train on, and how.

    Attributes
    ----------
    data
        "synthetic", or a file of features with their targets.
    models
        Those of `MODELS` that are wanted.
    synthesis
        What to generate.
    trials, budget_s
        Of each model's search. A quick run has none.
    explained
        Rows that SHAP values are computed of; 0 for none.
    """

    models: tuple[str, ...] = MODELS
    synthesis: code_health_synthetic.Synthesis = field(default_factory=code_health_synthetic.Synthesis)
    trials: int = 4
    budget_s: float = 20.0
    explained: int = 150


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained model with what its certificate and provenance are made of.

    Attributes
    ----------
    name
        Served name.
    model
        What serves.
    features
        Names of its features, in the order of its columns.
    threshold
        From where on its answer is yes; 0 for a value.
    golden, evaluation, reference
        Rows float32 [N, features]: golden inputs with edge cases, held-out rows for decisions, and held-out rows for
        reference distributions.
    reference_answers, reference_truth
        float32 [N]: the evaluated fit's, which has not seen those rows; and what came of them, NaN where not known.
    thresholds
        Of the members, for an ensemble.
    usual
        What its features were in nearly all rows that it was fitted to.
    """

    name: str
    model: Member | VotingEnsemble
    features: tuple[str, ...]
    threshold: float
    golden: npt.NDArray[np.float32]
    evaluation: npt.NDArray[np.float32]
    reference: npt.NDArray[np.float32]
    reference_answers: npt.NDArray[np.float32]
    reference_truth: npt.NDArray[np.float32]
    thresholds: Mapping[str, float]
    usual: Mapping[str, Range]


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
    training.code_health.fit.TooFewRowsError
        If the data is too short or too few for a fair test.
    training.data.quality.BadDataError
        If the data is bad and `options` says to refuse it.
    FileNotFoundError
        If there is no data at the path.
    """
    console = console or Console(quiet=True)
    rows, data = load(options, console)
    at, projects = cuts(rows), keep_projects(rows, options.seed)
    kept = rows.select(np.flatnonzero(np.isin(rows.projects, projects)))
    early, whole = Division.of(kept, at[0], options.seed), Division.of(rows, last_cut(rows), options.seed)
    wanted = [name for name in MODELS if name in options.models]
    needed = MEMBERS if "code_meta" in wanted else wanted
    fitted: dict[str, Fitted] = {}
    shipped: dict[str, Fitted] = {}
    trained: dict[str, Trained] = {}
    for name in [*(name for name in MEMBERS if name in needed), *(name for name in wanted if name == "code_meta")]:
        divided = parts(select_possible(rows, READS[name]), TARGET[name], at, projects)
        params = _params(options, rows, divided)
        with tracking.run("code_health", options.home, params, data, name) as run:
            if name == "code_meta":
                learn = [partial(fit_voting_ensemble, fitted), partial(fit_voting_ensemble, shipped)]
            else:
                estimator = _choose(name, early.early(divided.known, TARGET[name]), options, run, console)
                learn = [partial(fit, name, division=one, estimator=estimator) for one in (early, whole)]
            fitted[name] = learn[0](rows=divided.known)
            metrics = evaluate(name, fitted[name], divided)
            run.metrics(metrics)
            compared = _report(run, name, fitted[name], divided, options.explained)
            shipped[name] = fitted[name] if options.quick else learn[1](rows=divided.whole)
        console.print(f"{name}: {described(metrics)}", highlight=False)
        if name in wanted:
            more = {
                "metrics": metrics, "params": params, "slices": compared, "data_manifest_sha256": data.sha256,
                "mlflow_run_id": run.id,
            }  # fmt: skip
            trained[name] = _describe_trained(name, fitted[name], shipped, divided, options, more)
    return {name: trained[name] for name in wanted}


def load(options: Options, console: Console) -> tuple[Rows, manifest.Manifest]:
    """Generate rows, or read and check them, and hash what was used."""
    if options.data == SYNTHETIC:
        rows = code_health_synthetic.generate(options.synthesis)
        return rows, manifest.of_arrays(rows.arrays(), SYNTHETIC)
    reader = TableReader(options.style)
    read = partial(code_health_rows.read, on_bad=options.on_bad, reader=reader)
    return load_recorded(Path(options.data), read, code_health_rows.files, console, reader)


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
            found = regressed(truth, answers, float(divided.known.targets[target].mean()))
            found["plain_rmse"] = regressed(truth, plain(target, divided.known, known, READS[name]), 0.0)["rmse"]
        else:
            found = classified(truth, answers, fitted.threshold)
            if target == "anomaly":  # whose score is no probability; the plain baseline is the number of lines changed
                del found["calibration_error"]
                lines = known.features[:, columns(("lines_added", "lines_deleted"))].sum(axis=1)
                found["plain_auc"] = classified(truth, np.nan_to_num(lines).astype(np.float64), 0.0)["auc"]
            else:
                found["plain_auc"] = classified(truth, plain(target, divided.known, known, READS[name]), 0.5)["auc"]
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


def _choose(name: str, early: Rows, options: Options, run: tracking.Run, console: Console) -> Any:
    """Return the estimator to fit, by a search, which is logged; a quick run takes the defaults."""
    estimator, found = choose(
        name, early, run, console, trials=0 if options.quick else options.trials, budget_s=options.budget_s
    )
    if found is not None:
        run.text(found.markdown(), "search.md")
    return estimator


def _report(run: tracking.Run, name: str, fitted: Fitted, divided: Parts, explained: int) -> SliceReport | None:
    """Log whether the model is as good for all groups (returned), and what it relies on."""
    report = None
    target, its = TARGET[name], columns(READS[name])
    known = divided.later.known(target)
    if len(known):
        answers, truth = fitted.model.answer(known.features[:, its]), known.targets[target]
        right = np.abs(answers - truth) < NEAR if target == "impact" else (answers >= fitted.threshold) == (truth == 1)
        report = slices(known, right)
        run.text(report.markdown(), "slices.md")
        if target not in ("impact", "anomaly"):  # whose answers are no probabilities
            found = {"later rows": measure_reliability(answers, truth == 1)}
            run.figure(pictures.reliability_diagram(found), "reliability")
        run.metrics({"slices": len(report.slices), "slices_worse": len(report.worse)})
    if isinstance(fitted.model, VotingEnsemble):
        weights = zip(MEMBERS, fitted.model.weights.tolist(), strict=True)
        run.text("\n".join(f"{member}\t{weight:.4f}" for member, weight in weights) + "\n", "weights.tsv")
    elif explained:
        few = divided.later.features[:explained, its]
        for part, estimator, rows in _explainable(fitted.model.estimator, few):
            shap_report.explain(run, estimator, rows, READS[name], part)
    return report


def _explainable(estimator: Any, rows: npt.NDArray[np.float32]) -> list[tuple[str, Any, npt.NDArray[np.float32]]]:
    """Take an estimator apart into what SHAP can explain exactly: names, estimators, and rows as each sees them."""
    if hasattr(estimator, "named_estimators_"):
        return [(name, part, rows) for name, part in estimator.named_estimators_.items()]
    if type(estimator[-1]).__name__ == "MLPRegressor":  # explained by asking it often
        return [("", estimator, rows[: len(rows) // 5])]
    return [("", estimator[-1], estimator[:-1].transform(rows))]


def _describe_trained(
    name: str,
    evaluated: Fitted,
    shipped: Mapping[str, Fitted],
    divided: Parts,
    options: Options,
    more: Mapping[str, Any],
) -> Trained:
    its = columns(READS[name])
    held_out = divided.later
    shuffled = np.random.default_rng(options.seed).permutation(len(held_out))
    reference = held_out.select(shuffled[:MOST_REFERENCES])
    learned = divided.known if options.quick else divided.whole
    tested = f"{len(held_out):,} later rows of known projects, {len(divided.unseen):,} of projects kept out"
    said = f"all {len(learned):,} rows; calibration, thresholds and votes by answers to rows not seen"
    return Trained(
        name=name,
        model=shipped[name].model,
        features=READS[name],
        threshold=shipped[name].threshold,
        golden=golden(held_out.features[:, its]),
        evaluation=np.concatenate([held_out.features, divided.unseen.features])[:MOST_EVALUATED, its],
        reference=reference.features[:, its],
        reference_answers=evaluated.model.answer(reference.features[:, its]).astype(np.float32),
        reference_truth=reference.targets[TARGET[name]],
        thresholds={one: shipped[one].threshold for one in MEMBERS} if name == "code_meta" else {},
        usual=measure_usual(learned.features[:, its], READS[name]),
        fits=family.Fits(
            evaluated=f"{tested}; the evaluated fit has seen only rows before them",
            shipped="the evaluated fit itself" if options.quick else said,
            refitted=not options.quick,
        ),
        quick=options.quick,
        **more,
    )


def _params(options: Options, rows: Rows, divided: Parts) -> dict[str, str | int | float]:
    return {
        "data": Path(options.data).name,
        "rows": len(rows),
        "projects": len(np.unique(rows.projects)),
        "rows_known": len(divided.known),
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
    add_style(parser)
    add_search(parser, default.trials, default.budget_s)
    parser.add_argument(
        "--models", nargs="+", default=MODELS, choices=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}"
    )
    parser.add_argument("--projects", type=int, default=what.projects, help="synthetic projects (default: %(default)s)")
    parser.add_argument("--years", type=float, default=what.years, help="synthetic years (default: %(default)s)")


def from_arguments(arguments: argparse.Namespace, home: Path) -> Options:
    """Return the options that a command line means."""
    return Options(
        **shared_options(arguments, home),
        models=tuple(arguments.models),
        synthesis=code_health_synthetic.Synthesis(arguments.projects, arguments.years, seed=arguments.seed),
    )

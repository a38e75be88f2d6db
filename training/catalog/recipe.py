"""The catalogue's recipe: from products to a calibrated classifier and everything its archive has to prove.

options ─ load ─> products ─ near-duplicates ─> families ─ split ─┬─> training ─ fit, evaluate on test ─┬─> Trained
                                                                  └─> all ─ fit ────────────────────────┘
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.catalog.cleaning import Product, cleaned, whole
from models.known_words import KnownWords
from models.text import words_of
from training import family, tracking
from training.catalog import recorded as catalog_recorded
from training.catalog.estimators import LinearScores
from training.catalog.fit import Classifier, Codes, compare, families, fit, matrix
from training.catalog.synthetic.listings import Synthesis, generate
from training.cli import add_search, add_shared, shared_options
from training.data import manifest, splits
from training.data.loading import load_recorded
from training.data.manifest import SYNTHETIC
from training.data.reading.reader import TableReader
from training.data.reading.style import add_style
from training.evaluation import classification
from training.evaluation import plots as pictures
from training.evaluation.linear_report import log_groups, telling_words
from training.evaluation.slices import slice_report
from training.tracking import Run

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "catalog"
MODELS: Final = (MODEL,)
WORD_BUCKETS: Final = 1 << 20
"""Some ten times as many as a catalogue of 85,000 products has different words."""

SEARCHED: Final = 4000
"""Products that estimators are compared on; the winner is then fitted on all."""

MOST_EXPLAINED: Final = 1000


@dataclass(frozen=True, kw_only=True)
class TrainOptions(family.DataOptions, family.SearchOptions):
    """One training run.

    Attributes
    ----------
    data
        "synthetic", or the path of a ``.csv`` or ``.csv.gz`` file of products, or a folder of them.
    synthesis
        What to synthesise, where `data` says so.
    trials, budget_s
        How many estimators to compare, and for how long at most; one trial compares none, and takes the one that is
        best on recorded products (`training.catalog.cross_validation`).
    """

    synthesis: Synthesis = field(default_factory=Synthesis)


@dataclass(frozen=True)
class Trained(family.Trained):
    """A trained classifier with what its certificate and provenance are made of.

    Attributes
    ----------
    classifier
        What answers.
    products, unseen, unseen_codes
        At most 1,024 products of families that the evaluated fit has not seen: as they came, their texts, and their
        codes as positions among the labels, int64 [N].
    unseen_probabilities
        What the evaluated fit thinks of them, float64 [N, labels].
    words
        Those of the products that the evaluated fit has seen.
    """

    classifier: Classifier
    products: tuple[Product, ...]
    unseen: tuple[str, ...]
    unseen_codes: npt.NDArray[np.int64]
    unseen_probabilities: npt.NDArray[np.float64]
    words: KnownWords


def train(options: TrainOptions, console: Console | None = None) -> dict[str, Trained]:
    """Train the classifier, evaluate it on families it has not seen, and record the run in MLflow.

    Raises
    ------
    training.data.quality.BadDataError
        If the data is bad and `options` says to refuse it.
    FileNotFoundError
        If there is no data at the path.
    """
    console = console or Console(quiet=True)
    frame, data = load(options, console)
    products = products_of(frame)
    texts = [whole(product) for product in products]
    codes: Codes = frame["code"].to_numpy().astype(str)
    groups = families(texts, [cleaned(product.description or "") for product in products])
    kept, test = splits.holdout(groups, 0.2, options.seed)
    test = test[np.isin(codes[test], codes[kept])]  # of a code that occurs nowhere else nothing can be learnt
    mine = [texts[at] for at in kept.tolist()]
    params: dict[str, str | int | float] = {
        "data": Path(options.data).name, "products": len(frame), "families": len(np.unique(groups)),
        "products_training": len(kept), "products_test": len(test), "trials": options.trials, "seed": options.seed,
    }  # fmt: skip
    with tracking.run(MODEL, options.home, params, data) as run:
        estimator: Any = LinearScores()
        if options.trials > 1:
            few = np.sort(np.random.default_rng(options.seed).permutation(len(kept))[:SEARCHED])
            found = compare(
                [mine[at] for at in few.tolist()], codes[kept][few], groups[kept][few], trials=options.trials,
                budget_s=options.budget_s, run=run, console=console, seed=options.seed,
            )  # fmt: skip
            run.text(found.markdown(), "search.md")
            console.print(found.markdown(), highlight=False, markup=False)
            estimator = found.estimator
        classifier = fit(mine, codes[kept], groups[kept], estimator)
        unseen = [texts[at] for at in test.tolist()]
        truth = np.array([classifier.labels.index(code) for code in codes[test].tolist()], np.int64)
        probabilities = classifier.probabilities(unseen)
        report = classification.evaluate(probabilities, truth, classifier.labels)
        console.print(per_code(report, classifier.labels), highlight=False, markup=False)
        run.metrics(report.metrics)
        run.text(per_code(report, classifier.labels), "codes.md")
        right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
        compared = slice_report(right, slices(frame.iloc[test], unseen))
        run.text(compared.markdown(), "slices.md")
        run.figure(pictures.confusion_matrix(report, classifier.labels), "confusion_matrix")
        run.figure(pictures.reliability_diagram({"first choice": report.reliability}), "reliability")
        if isinstance(classifier.estimator, LinearScores):
            explain(run, classifier, mine, unseen[:MOST_EXPLAINED])
    on = f"{len(test):,} products of families of near-duplicates that the evaluated fit has not seen"
    served, fits = classifier, family.Fits(evaluated=on, shipped="the evaluated fit itself", refitted=False)
    if not options.quick:
        served = fit(texts, codes, groups, estimator)
        fits = family.Fits(evaluated=on, shipped=f"all {len(texts):,} products")
    some = np.random.default_rng(options.seed).permutation(len(test))[: splits.MOST_REFERENCES].tolist()
    names = np.array(classifier.labels)[truth[some]]
    answers = np.zeros((len(some), len(served.labels)))
    answers[:, [served.labels.index(label) for label in classifier.labels]] = probabilities[some]
    trained = Trained(
        classifier=served,
        products=tuple(products[int(test[at])] for at in some),
        unseen=tuple(unseen[at] for at in some),
        unseen_codes=np.array([served.labels.index(name) for name in names.tolist()], np.int64),
        unseen_probabilities=answers,
        words=KnownWords.fit(mine, WORD_BUCKETS),
        metrics=report.metrics,
        params=params,
        data_manifest_sha256=data.sha256,
        mlflow_run_id=run.id,
        fits=fits,
        quick=options.quick,
        slices=compared,
    )
    return {MODEL: trained}


def load(options: TrainOptions, console: Console) -> tuple[pd.DataFrame, manifest.Manifest]:
    """Read or synthesise products, report faults, and hash what was used."""
    if options.data == SYNTHETIC:
        frame = generate(options.synthesis)
        arrays = {name: frame[name].to_numpy().astype(str) for name in ("designation", "description", "code")}
        return frame, manifest.of_arrays(arrays, "catalog-synthetic")
    reader = TableReader(options.style)
    read = partial(catalog_recorded.read, on_bad=options.on_bad, reader=reader)
    return load_recorded(Path(options.data), read, catalog_recorded.files, console, reader)


def products_of(frame: pd.DataFrame) -> list[Product]:
    """Return a table's products."""
    rows = zip(frame["designation"].tolist(), frame["description"].tolist(), strict=True)
    return [Product(designation, description or None) for designation, description in rows]


def per_code(report: classification.Report, labels: tuple[str, ...]) -> str:
    """Return precision, recall and F1 of each code, and what it is most often taken for, as a table."""
    lines = [
        f"{report.count} products of families never seen: weighted F1 {report.weighted_f1:.3f}, macro-F1 "
        f"{report.macro_f1:.3f}, accuracy {report.accuracy:.3f}, calibration error {report.calibration_error:.3f}",
        "",
        "| code | products | precision | recall | F1 | most often taken for |",
        "|---|---|---|---|---|---|",
    ]
    for place, label in enumerate(labels):
        row = report.confusion[place]
        true, said, hit = int(row.sum()), int(report.confusion[:, place].sum()), int(row[place])
        others = row.copy()
        others[place] = 0
        wrong = f"{labels[int(others.argmax())]} ({others.max()})" if others.any() else ""
        f1 = 2 * hit / max(1, true + said)
        lines.append(f"| {label} | {true} | {hit / max(1, said):.2f} | {hit / max(1, true):.2f} | {f1:.2f} | {wrong} |")
    return "\n".join(lines)


def slices(frame: pd.DataFrame, texts: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the groups of products by which the model's figures are compared."""
    lengths = np.array([len(text) for text in texts])
    names = np.array(["to 40", "to 120", "to 500", "longer"])
    by: dict[str, npt.NDArray[Any]] = {
        "description": np.where(frame["description"].to_numpy() == "", "none", "some"),
        "characters": names[np.searchsorted([40, 120, 500], lengths)],
        "markup": np.where(frame["description"].str.contains("<[a-zA-Z/]", regex=True).to_numpy(), "tags", "none"),
    }
    return by | ({"language": frame["language"].to_numpy().astype(str)} if "language" in frame else {})


def explain(run: Run, classifier: Classifier, texts: list[str], unseen: list[str]) -> dict[str, float]:
    """Log which of the views of a text the answers go by, and the frequent words that tell each code.

    Returns
    -------
    dict of str to float
        By view, the mean absolute SHAP value of the calibrated score of the answered code, in natural log-odds.
    """
    vocabulary, linear, calibration = classifier.vocabulary, classifier.estimator, classifier.calibration
    codes = linear.classes_.tolist()
    positions = [classifier.labels.index(code) for code in codes]
    slope, intercept = calibration.slope[positions], calibration.intercept[positions]
    views = {name: matrix(bag, vocabulary) @ linear.table_ for name, bag in vocabulary.parts(unseen).items()}
    counts = Counter(word for text in texts for word in set(words_of(text)))
    words = [word for word, count in counts.most_common(2000) if count >= 3]
    alone = matrix(vocabulary.parts(words)["words"], vocabulary) @ linear.table_
    run.text(telling_words(words, np.asarray(alone), codes, "code"), "telling_words.tsv")
    parts = {name: np.asarray(scores) * slope for name, scores in views.items()}
    return log_groups(run, parts, linear.bias_ * slope + intercept)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the catalogue's options to a command line."""
    options = TrainOptions()
    add_shared(parser, "a table of designation, description and prdtypecode, or a folder of them")
    add_style(parser)
    add_search(parser, options.trials, options.budget_s)
    parser.add_argument(
        "--products", type=int, default=options.synthesis.products, help="synthetic products (default: %(default)s)"
    )


def from_arguments(arguments: argparse.Namespace, home: Path) -> TrainOptions:
    """Return the options that a command line means."""
    return TrainOptions(
        **shared_options(arguments, home),
        synthesis=Synthesis(products=arguments.products, seed=arguments.seed),
    )

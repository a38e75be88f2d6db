"""The catalogue against plain baselines on recorded products, on families of near-duplicates neither has seen.

All answer the same folds of whole families, and are scored on all products at once. What serves learns its vocabulary,
weights and calibration from the training part of each fold alone, and nothing is chosen by the part that is tested.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.catalog.cleaning import cleaned, whole
from models.probabilities import softmax
from training.catalog import recorded as catalog_recorded
from training.catalog.estimators import BoostedProjection, LinearScores
from training.catalog.fit import Codes, Estimator, families, fit, in_order
from training.catalog.recipe import per_code, products_of
from training.data import quality, splits
from training.data.reading.reader import TableReader
from training.data.reading.style import Style, add_style
from training.evaluation.classification import Report
from training.evaluation.classification import evaluate as evaluated

Answer = Callable[[Sequence[str], Codes, npt.NDArray[np.str_], Sequence[str], tuple[str, ...]], npt.NDArray[np.float64]]
"""Training texts, codes and families, and texts to answer, to probabilities (or scores) of all labels."""


@dataclass(frozen=True)
class Row:
    """One way to answer, and what it reached."""

    name: str
    report: Report
    calibrated: bool


def answer_with(estimator: Callable[[], Estimator]) -> Answer:
    """Return the way to answer of the recipe, with an estimator."""

    def answer(
        texts: Sequence[str],
        codes: Codes,
        groups: npt.NDArray[np.str_],
        unseen: Sequence[str],
        labels: tuple[str, ...],
    ) -> npt.NDArray[np.float64]:
        classifier = fit(texts, codes, groups, estimator())
        found = np.zeros((len(unseen), len(labels)))
        found[:, [labels.index(code) for code in classifier.labels]] = classifier.probabilities(unseen)
        return found

    return answer


def baseline(
    texts: Sequence[str], codes: Codes, groups: npt.NDArray[np.str_], unseen: Sequence[str], labels: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """Answer with a few lines of scikit-learn: character n-grams and a linear support vector machine."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    ngrams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
    model = LinearSVC().fit(ngrams.fit_transform(texts), codes)
    found = np.full((len(unseen), len(labels)), -9.0)
    found[:, [labels.index(code) for code in model.classes_.tolist()]] = model.decision_function(
        ngrams.transform(unseen)
    )
    return softmax(found)


WAYS: Final[Sequence[tuple[str, Answer, bool]]] = (
    ("**served: linear, hinge loss, four views**", answer_with(LinearScores), True),
    ("boosted trees on a projection of the same", answer_with(BoostedProjection), True),
    ("baseline: character n-grams, linear SVC", baseline, False),
)


def cross_validate(
    texts: Sequence[str], codes: Codes, groups: npt.NDArray[np.str_], answer: Answer, folds: int
) -> Report:
    """Return what a way to answer reaches on families it has not seen, on all products at once."""
    labels = in_order(codes)
    found = np.zeros((len(texts), len(labels)))
    for train, test in splits.folds(groups, folds):
        mine, unseen = [texts[at] for at in train.tolist()], [texts[at] for at in test.tolist()]
        found[test] = answer(mine, codes[train], groups[train], unseen, labels)
    truth = np.array([labels.index(code) for code in codes.tolist()], np.int64)
    return evaluated(found, truth, labels)


def markdown(rows: Sequence[Row]) -> str:
    """Return a table of results in Markdown."""
    lines = [
        "| what answers | weighted F1 | macro-F1 | accuracy | top-5 | calibration error |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        report = row.report
        numbers = [report.weighted_f1, report.macro_f1, report.accuracy, report.top5]
        error = f"{report.calibration_error:.3f}" if row.calibrated else ""
        lines.append(f"| {row.name} | " + " | ".join(f"{number:.3f}" for number in numbers) + f" | {error} |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the evaluation's options to a command line."""
    parser.add_argument("--folds", type=int, default=5, help="folds of whole families (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="only what serves and the baseline")
    add_style(parser)


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Print the tables of the catalogue's page.

    Raises
    ------
    training.data.quality.BadDataError
        If the data cannot be read.
    FileNotFoundError
        If there is none.
    """
    frame, faults = catalog_recorded.read(arguments.data, reader=TableReader(Style.of(arguments)))
    if faults:
        console.print(quality.report(faults), highlight=False)
    products = products_of(frame)
    texts = [whole(product) for product in products]
    codes: Codes = frame["code"].to_numpy().astype(str)
    groups = families(texts, [cleaned(product.description or "") for product in products])
    console.print(
        f"{len(texts)} products, {len(set(codes.tolist()))} codes, {len(np.unique(groups))} families, "
        f"{arguments.folds} folds", highlight=False,
    )  # fmt: skip
    titles = [whole(type(product)(product.designation)) for product in products]
    ways: list[tuple[str, Answer, bool, Any]] = [
        (*way, texts) for way in WAYS if not (arguments.quick and "boosted" in way[0])
    ]
    if not arguments.quick:
        ways.append(("served, designations alone", WAYS[0][1], True, titles))
        ways.append(("baseline, designations alone", baseline, False, titles))
    rows = []
    for name, answer, calibrated, read in ways:
        rows.append(Row(name, cross_validate(read, codes, groups, answer, arguments.folds), calibrated))
        console.print(markdown(rows[-1:]).splitlines()[-1], highlight=False, markup=False)
    console.print("\n" + markdown(rows), highlight=False, markup=False)
    console.print("\n" + per_code(rows[0].report, in_order(codes)), highlight=False, markup=False)

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from mlflow import MlflowClient
from rich.console import Console

from archives.certificate import CertificateError
from models.catalog.cleaning import Product, whole
from models.catalog.features import SHARES
from tests.families.catalog import tiny
from training import tracking
from training.catalog import cross_validation as catalog_crossval
from training.catalog import recipe as catalog
from training.catalog.estimators import BoostedProjection, LinearScores, class_weights
from training.catalog.fit import families, fit, in_order, matrix, scores
from training.catalog.release import EDGES, release
from training.catalog.synthetic.listings import Synthesis, generate
from training.data import splits
from training.packaging.archive import build

Products = tuple[list[str], npt.NDArray[np.str_], npt.NDArray[np.str_]]


@pytest.fixture(scope="module")
def products() -> Products:
    """Texts, codes and families of synthetic products."""
    frame = generate(Synthesis(products=600, seed=3))
    texts = [whole(product) for product in catalog.products_of(frame)]
    return texts, frame["code"].to_numpy().astype(str), families(texts, frame["description"].tolist())


def test_listings_of_one_product_are_one_family() -> None:
    texts = [
        "Drone Kolen quatre canaux rouge avec caméra",
        "Drone Kolen quatre canaux bleu avec caméra",
        "Carnet A4 bleu",
    ]
    found = families(texts, ["", "", ""])
    assert found[0] == found[1] != found[2]
    same = "une description assez longue pour une série entière de produits"
    assert len(set(families(texts, [same, "", same]).tolist())) == 1


def test_trained_on_synthetic_products_it_beats_the_commonest_code_on_unseen_families() -> None:
    trained = tiny()
    assert trained.metrics["weighted_f1"] > 0.5
    assert trained.metrics["top5"] > 0.8
    assert len(trained.classifier.labels) == 27


def test_what_ships_is_fitted_to_all_products_and_answers_new_ones_no_worse_than_what_was_evaluated() -> None:
    trained = tiny()
    assert trained.fits.refitted and trained.fits.shipped == f"all {trained.params['products']} products"
    assert f"{trained.params['products_test']} products of families" in trained.fits.evaluated
    seen = trained.classifier.probabilities(trained.unseen)
    assert not np.allclose(seen, trained.unseen_probabilities), "the reference is of a fit that had not seen it"
    fresh = generate(Synthesis(products=1500, seed=99))
    texts, labels = [whole(product) for product in catalog.products_of(fresh)], np.array(trained.classifier.labels)
    right = labels[trained.classifier.probabilities(texts).argmax(axis=1)] == fresh["code"].to_numpy()
    evaluated, tested = trained.metrics["accuracy"], int(trained.params["products_test"])
    error = (evaluated * (1 - evaluated) * (1 / tested + 1 / len(fresh))) ** 0.5
    assert right.mean() >= evaluated - 2 * error


def test_a_quick_training_ships_what_was_evaluated(tmp_path: Path) -> None:
    options = catalog.TrainOptions(home=tmp_path, synthesis=Synthesis(products=400), quick=True)
    trained = catalog.train(options)["catalog"]
    assert trained.quick and not trained.fits.refitted
    assert np.allclose(trained.classifier.probabilities(trained.unseen), trained.unseen_probabilities)


@pytest.mark.parametrize("estimator", [LinearScores(), LinearScores("log", 20, 0.5), BoostedProjection(12, 4, 3)])
def test_the_archive_answers_as_what_was_trained(
    estimator: LinearScores | BoostedProjection, products: Products, tmp_path: Path
) -> None:
    classifier = fit(*products, estimator)
    built = build(release(replace(tiny(), classifier=classifier), "1.0"), tmp_path)  # refuses a gap and a changed label
    assert built.gap <= 1e-5


@pytest.mark.parametrize("estimator", [LinearScores(), BoostedProjection(8, 3, 3)])
def test_two_codes_are_enough(estimator: LinearScores | BoostedProjection, products: Products, tmp_path: Path) -> None:
    texts, codes, groups = products
    two = np.flatnonzero(np.isin(codes, ["2583", "2280"]))
    classifier = fit([texts[at] for at in two.tolist()], codes[two], groups[two], estimator)
    assert classifier.labels == ("2280", "2583")
    assert (classifier.probabilities(texts)[two].argmax(axis=1) == (codes[two] == "2583")).mean() > 0.9
    truth = np.zeros(len(tiny().unseen), np.int64)
    assert build(release(replace(tiny(), classifier=classifier, unseen_codes=truth), "1.0"), tmp_path).gap <= 1e-5


def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    honest = release(tiny(), "1.0")
    other = replace(tiny().classifier, calibration=replace(tiny().classifier.calibration, slope=np.ones(27)))
    forged = replace(honest, onnx=release(replace(tiny(), classifier=other), "1.0").onnx)
    with pytest.raises(CertificateError, match="probabilities"):
        build(forged, tmp_path)


def test_probabilities_are_calibrated_and_sum_to_one(products: Products) -> None:
    texts, codes, groups = products
    kept, test = splits.holdout(groups, 0.3)
    classifier = fit([texts[at] for at in kept.tolist()], codes[kept], groups[kept], LinearScores())
    probabilities = classifier.probabilities([texts[at] for at in test.tolist()])
    right = np.array(classifier.labels)[probabilities.argmax(axis=1)] == codes[test]
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert probabilities.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.12)


@pytest.mark.parametrize("name", EDGES)
def test_what_no_shop_sells_is_answered(name: str) -> None:
    probabilities = tiny().classifier.probabilities([whole(product) for product in EDGES[name]])
    assert np.isfinite(probabilities).all() and probabilities.sum() == pytest.approx(1)


def test_a_code_unknown_to_an_estimator_is_the_least_likely(products: Products) -> None:
    texts, codes, _ = products
    vocabulary = tiny().classifier.vocabulary
    rows = matrix(vocabulary.bag(texts), vocabulary)
    without = LinearScores().fit(rows[codes != "2583"], codes[codes != "2583"])
    labels = in_order(codes)
    assert (scores(without, rows, labels).argmin(axis=1) == labels.index("2583")).all()


def test_rare_codes_count_more_the_more_it_is_balanced() -> None:
    codes = np.array(["a"] * 8 + ["b"] * 2)
    assert class_weights(codes, 0) == {"a": 1, "b": 1}
    balanced = class_weights(codes, 1)
    assert 8 * balanced["a"] == pytest.approx(2 * balanced["b"])


def test_codes_are_in_the_order_of_their_numbers() -> None:
    assert in_order(np.array(["2583", "10", "40", "10"])) == ("10", "40", "2583")


def test_a_classifier_is_explained_by_its_views_and_by_words_that_are_a_codes_own(tmp_path: Path) -> None:
    classifier, unseen = tiny().classifier, list(tiny().unseen)
    with tracking.run("explained", tmp_path, {}) as run:
        views = catalog.explain(run, classifier, unseen, unseen)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert {one.path for one in client.list_artifacts(run.id)} == {"groups.tsv", "shap.png", "telling_words.tsv"}
    assert set(views) == set(SHARES) and min(views.values()) > 0
    lines = client.download_artifacts(run.id, "telling_words.tsv", str(tmp_path))
    words = dict(line.split("\t") for line in Path(lines).read_text().splitlines())
    assert set(words) == {"code", *classifier.labels}
    assert {"piscine", "bassin", "eau", "bache", "liner", "filtration"} & set(words["2583"].split(", "))


def test_an_example_is_a_request_of_a_held_out_product() -> None:
    body = dict(release(tiny(), "1.0").example)
    assert Product(body["designation"], body["description"]) in tiny().products


def test_the_command_lines_options_arrive(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    catalog.add_arguments(parser)
    arguments = parser.parse_args(["--products", "77", "--trials", "5", "--seed", "2", "--on-bad", "refuse"])
    options = catalog.from_arguments(arguments, tmp_path)
    assert (options.synthesis.products, options.synthesis.seed, options.seed) == (77, 2, 2)
    assert (options.trials, options.on_bad, options.home) == (5, "refuse", tmp_path)


def test_recorded_products_are_evaluated_beside_a_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = generate(Synthesis(products=400, seed=5)).rename(columns={"code": "prdtypecode"})
    frame.to_csv(tmp_path / "products.csv.gz", index=False)
    arguments = argparse.Namespace(data=tmp_path, folds=2, quick=True)
    catalog_crossval.evaluate(arguments, Console(width=200))
    shown = capsys.readouterr().out
    assert "| baseline: character n-grams, linear SVC | 0." in shown
    assert "| **served: linear, hinge loss, four views** | 0." in shown
    assert shown.count("| 2583 | ") == 1

"""The catalogue: from a trained classifier to a release, everything its archive is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.catalog.cleaning import MOST_READ, Product, whole
from models.catalog.summary import SUMMARY, summarise
from training.catalog.fit import Classifier
from training.catalog.graph import graph
from training.catalog.recipe import MODEL, Trained
from training.export.onnx_graph import finished
from training.packaging.archive import TABULAR_TOLERANCE, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

LIMITS: Final = {"designation": 20_000, "description": 200_000}
"""Longest texts in a request, in characters; what is read of them is `models.catalog.cleaning.MOST_READ`."""

PASS_LIMIT: Final = 65_536
"""Characters in one forward pass."""

EDGES: Final = {
    "nothing_known": (Product("Ωζ ξψ"),),
    "one_letter": (Product("a"),),
    "no_letter": (Product("!!! 🐈 ???"),),
    "digits": (Product("0123456789 " * 20),),
    "markup": (Product("<b>Caf&eacute;</b>", "<p>100&nbsp;% &amp;eacute;quitable<br />sachet <ul><li>250 g"),),
    "another_language": (Product("Spielzeug für Kinder", "Тетрадь 日本語 notebook"),),
    "endless": (Product("coussin " * 2000, "housse " * 20_000),),
    "all_different": (Product(" ".join(f"mot{k}" for k in range(2000))),),
}
"""Products that no shop sells in this way, and that have to be answered anyway."""


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Proposes the product type code of a listing from its designation and description: for sorting a catalogue, "
        "and for people who check the unsure ones."
    ),
    not_for=(
        "Decisions that no one can correct, such as taxes, customs or safety classes. It reads texts alone: codes "
        "that differ by the picture stay confused, and a listing in a language of which it has seen little gets a "
        "guess. It knows only the codes that it was trained with, and says one of them of everything."
    ),
)


def release(trained: Trained, version: str) -> Release:
    """Write the classifier as one graph and collect its proofs.

    Parameters
    ----------
    trained : Trained
    version : str
        Such as ``1.0``.
    """
    classifier, unseen = trained.classifier, trained.unseen
    contract = Contract(
        model=MODEL,
        version=version,
        family="catalog",
        task="classification",
        inputs=(
            Tensor("indices", "int64", ("batch", "ngrams"), unit="rows of the table, numbered by the vocabulary"),
            Tensor(
                "weights", "float32", ("batch", "ngrams"),
                unit="(1 + ln(count)) x inverse document frequency, each view of a text scaled to its share",
                missing="a weight of 0 is no n-gram; NaN and infinities are never made",
            ),
        ),
        outputs=(Tensor("probabilities", "float32", ("batch", len(classifier.labels)), unit="calibrated probability"),),
        labels=classifier.labels,
        limits={**LIMITS, "characters_read": MOST_READ},
        summary=SUMMARY,
    )  # fmt: skip
    usual = {f"product_{place}": (text,) for place, text in enumerate(unseen[:8])}
    edges = {name: tuple(map(whole, products)) for name, products in EDGES.items()}
    together = {"padded_batch": (*unseen[:16], *(text for texts in edges.values() for text in texts))}
    return Release(
        contract=contract,
        handler="handlers.catalog:CatalogHandler",
        onnx=finished(graph(classifier)),
        cases=tuple(_case(name, classifier, texts) for name, texts in {**usual, **edges, **together}.items()),
        example=example(trained.products),
        reference=_reference(trained),
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        serving=configure_serving(PASS_LIMIT),
        tolerance=TABULAR_TOLERANCE,
        evaluation=tuple(_case(f"held_out_{at}", classifier, unseen[at : at + 64]) for at in range(0, len(unseen), 64)),
        family_data={"vocabulary": classifier.vocabulary.to_text(), "words": trained.words.to_text()},
    )


def example(products: Sequence[Product]) -> dict[str, Any]:
    """Return a request body: the first product with a short description."""
    product = next((one for one in products if 0 < len(one.description or "") < 400), products[0])
    return {"designation": product.designation, "description": product.description, "top_k": 3}


def _case(name: str, classifier: Classifier, texts: Sequence[str]) -> Case:
    probabilities = classifier.probabilities(texts).astype(np.float32)
    return Case(name, classifier.vocabulary.arrays(texts), {"probabilities": probabilities})


def _reference(trained: Trained) -> Arrays:
    """Return what drift is measured on: what was answered of products by a fit that had not seen their families.

    Returns
    -------
    dict of ndarray, each of shape (products,)
        ``confidence`` of the winning code, ``predicted`` and true ``label``; and of the texts what
        `models.catalog.summary.SUMMARY` names.
    """
    probabilities = trained.unseen_probabilities
    described = [bool(product.description) for product in trained.products]
    return {
        "confidence": probabilities.max(axis=1).astype(np.float32),
        "predicted": probabilities.argmax(axis=1).astype(np.int64),
        "label": trained.unseen_codes,
        **columns_of(SUMMARY, summarise(trained.unseen, described, trained.words)),
    }

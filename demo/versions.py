"""What the demo of rollouts releases: five versions of a small model of the catalogue, two good and three faulty.

All are trained and built as any version is. The products that users ask about come from the same generator, from
families that no version was trained on, so their true codes are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from archives.keys import signing_key
from archives.registry import Registry
from models.catalog.cleaning import Product, whole
from training.catalog.recipe import MODEL, Trained, TrainOptions, products_of, train
from training.catalog.release import release
from training.catalog.synthetic.listings import Synthesis, generate
from training.packaging.archive import Built, build

if TYPE_CHECKING:
    import pandas as pd

EASY: Final = Synthesis(borrowed=0.02, vague=0.0, bare=0.02, foreign=0.0, typos=0.01, mislabelled=0.0)
"""A catalogue that is easier than the default one, so that a small model is right nine times out of ten."""

TRAINED_ON: Final = 5000
"""Products of the best version: the first ones that the generator makes. Users ask about later ones."""

ASKED: Final = 10_000

COLUMNS: Final = ["designation", "description", "prdtypecode"]
"""Of files of products."""


@dataclass(frozen=True)
class Version:
    """One version and what is to be said of it.

    Attributes
    ----------
    number
        Such as ``3.0``.
    what
        What it is, in a few words.
    synthesis
        What it is trained on.
    handler
        The class that answers.
    gate
        The gate that is to roll it back; empty where none is.
    """

    number: str
    what: str
    synthesis: Synthesis
    handler: str = "handlers.catalog:CatalogHandler"
    gate: str = ""


_BEST = replace(EASY, products=TRAINED_ON)

VERSIONS: Final = (
    Version("1.0", "good: trained on 2,000 products", replace(EASY, products=2000)),
    Version("2.0", "better: trained on 5,000 products", _BEST),
    Version("3.0", "worse: trained on 2,900 products, one label in ten wrong",
            replace(EASY, products=2900, mislabelled=0.1), gate="accuracy"),
    Version("4.0", "slow: 2.0 with code that waits 80 ms", _BEST, "handlers.demo_faults:SlowCatalogHandler", "latency"),
    Version("5.0", "fails: 2.0 with code that raises on 3 % of requests", _BEST,
            "handlers.demo_faults:FailingCatalogHandler", "errors"),
)  # fmt: skip
FAILING: Final = VERSIONS[-1].number
"""The version some of whose requests fail."""


@dataclass(frozen=True)
class Ready:
    """A version that was trained and built.

    Attributes
    ----------
    version
        Which.
    built
        Its archive.
    accuracy
        Measured before any release: its share of right answers on what users will ask.
    """

    version: Version
    built: Built
    accuracy: float


@dataclass(frozen=True)
class Asked:
    """A product that users ask about: an instance of a request, and its true code."""

    instance: dict[str, Any]
    code: str


def build_all(home: Path, store: Path, versions: Sequence[Version] = VERSIONS) -> Iterator[Ready]:
    """Train, measure, build and register the versions, one after the other; the last ones share one training.

    Parameters
    ----------
    home
        Folder of the local MLflow database, and of the key that signs.
    store
        Folder of archives.
    versions
        Which.
    """
    registry, key = Registry(home), signing_key(None, home)
    trained: dict[Synthesis, Trained] = {}
    for version in versions:
        if version.synthesis not in trained:
            trained[version.synthesis] = train(TrainOptions(home=home, synthesis=version.synthesis, trials=1))[MODEL]
        one = trained[version.synthesis]
        built = build(replace(release(one, version.number), handler=version.handler), store, key)
        registry.register(built.path)
        yield Ready(version, built, accuracy(one))


def accuracy(one: Trained) -> float:
    """Return the share of the asked products that a classifier is right about."""
    texts, codes = _texts_and_codes()
    labels = np.array(one.classifier.labels)
    return float((labels[one.classifier.probabilities(texts).argmax(axis=1)] == codes).mean())


def products_like(synthesis: Synthesis) -> pd.DataFrame:
    """Generate products for files: no two the same, each with its `family` beside its `COLUMNS`."""
    table = generate(synthesis).rename(columns={"code": "prdtypecode"})
    return table.drop_duplicates(subset=COLUMNS).reset_index(drop=True)


@cache
def asked() -> list[Asked]:
    """Return the products that users ask about: of families that no version has seen."""
    table = generate(replace(EASY, products=TRAINED_ON + ASKED))
    later = table.iloc[TRAINED_ON:]
    unseen = later[~later["family"].isin(set(table["family"][:TRAINED_ON]))]
    return [
        Asked({"designation": product.designation, "description": product.description}, code)
        for product, code in zip(products_of(unseen), unseen["code"].tolist(), strict=True)
    ]


@cache
def _texts_and_codes() -> tuple[list[str], np.ndarray[Any, Any]]:
    every = asked()
    texts = [whole(Product(one.instance["designation"], one.instance["description"])) for one in every]
    return texts, np.array([one.code for one in every])

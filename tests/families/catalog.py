"""Good and bad requests of the catalogue, and a tiny classifier to send them to."""

import functools
import tempfile
from pathlib import Path
from typing import Any

from tests.bad_requests import Bad, sent
from training.catalog.recipe import MODELS, Trained, TrainOptions, train
from training.catalog.release import release
from training.catalog.synthetic.listings import Synthesis
from training.packaging.archive import Release

__all__ = ["MODELS", "bad", "good", "releases", "tiny"]


@functools.cache
def tiny() -> Trained:
    """Return a classifier that was trained on 900 synthetic products."""
    with tempfile.TemporaryDirectory(prefix="marina-catalog-") as home:
        options = TrainOptions(home=Path(home), synthesis=Synthesis(products=900), trials=1)
        return train(options)["catalog"]


@functools.cache
def releases() -> dict[str, Release]:
    """Return what the tiny classifier is released as."""
    return {"catalog": release(tiny(), "1.0")}


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    return [
        {"designation": "Piscine Ronde Hors Sol 3,60 m", "description": "Bassin avec filtration et échelle."},
        {"designation": "CARNET À SPIRALE A4", "description": None},
        {"designation": "<b>Caf&eacute;</b> 250&nbsp;g", "description": "<p>bio &amp;amp; équitable<br>"},
        {"designation": "Spielzeug für Kinder", "description": ""},
        {"designation": "🐈 日本語 x", "description": "mot " * 40_000},
    ]


def bad(model: str) -> dict[str, Bad]:
    """Return the bad requests that only this family can be sent, by name."""
    product = {"designation": "Piscine", "description": "ronde"}
    return {
        "no designation": sent({"description": "ronde"}, field="designation"),
        "designation null": sent({**product, "designation": None}, field="designation"),
        "designation empty": sent({**product, "designation": ""}, field="designation"),
        "designation a number": sent({**product, "designation": 7}, field="designation"),
        "designation a list": sent({**product, "designation": ["Piscine"]}, field="designation"),
        "designation true": sent({**product, "designation": True}, field="designation"),
        "designation too long": sent({"designation": "a" * 20_001}, field="designation"),
        "no letter or digit": sent({"designation": "!? 🐈", "description": "..."}, field="designation"),
        "nothing but markup": sent({"designation": "<br/>&nbsp;"}, field="designation"),
        "description a number": sent({**product, "description": 1.5}, field="description"),
        "description an object": sent({**product, "description": {"fr": "ronde"}}, field="description"),
        "description too long": sent({**product, "description": "a" * 200_001}, field="description"),
        "title for designation": sent({"title": "Piscine"}, field="title"),
        "a bad instance": sent({"instances": [product, {"designation": ""}]}, field="instances[1].designation"),
    }

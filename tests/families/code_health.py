"""Good and bad requests of the five models of code health, for every test that sends some."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from handlers.decoding import NPY
from models.code_health.features import POSSIBLE, READS
from tests.bad_requests import Bad, npy, sent
from training.code_health.fit import MODELS
from training.code_health.recipe import Options, Trained, train
from training.code_health.release import release
from training.code_health.synthetic.rows import Synthesis
from training.packaging.archive import Release

__all__ = ["MODELS", "bad", "good", "releases"]


@functools.cache
def tiny() -> dict[str, Trained]:
    """Train all five on a few small projects, without a search worth the name."""
    with tempfile.TemporaryDirectory() as home:
        return train(Options(home=Path(home), synthesis=Synthesis(projects=5, years=3.5), trials=1, explained=0))


@functools.cache
def releases() -> dict[str, Release]:
    """Return what the tiny models are released as."""
    return {name: release(trained, "1.0") for name, trained in tiny().items()}


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    names = READS[model]
    values = rows(model, 3)
    return [
        {"features": dict(zip(names, values[0].tolist(), strict=True))},
        {"features": values[1].tolist()},
        {"features": {name: float(values[2, place]) if place % 3 else None for place, name in enumerate(names)}},
        {"features": {name: 0.5 for name in names[::2]}},
    ]


def bad(model: str) -> dict[str, Bad]:
    """Return every kind of bad request that is particular to rows of features, by name."""
    first = READS[model][0]
    row = rows(model, 1)[0].tolist()
    whole = dict(zip(READS[model], row, strict=True))
    return {
        "features null": sent({"features": None}, field="features"),
        "features a number": sent({"features": 1.5}, field="features"),
        "one feature too few": sent({"features": row[:-1]}, field="features"),
        "one feature too many": sent({"features": [*row, 1.0]}, field="features"),
        "a feature by another name": sent({"features": {"lines": 3}}, field="features.lines"),
        "a feature as a string": sent({"features": {first: "3"}}, field=f"features.{first}"),
        "a feature as a truth": sent({"features": {first: True}}, field=f"features.{first}"),
        "a feature beyond belief": sent({"features": {first: 1e31}}, field=f"features.{first}"),
        "no feature": sent({"features": {}}, field="features"),
        "all features null": sent({"features": dict.fromkeys(READS[model])}, field="features"),
        "more than half of the features missing": sent({"features": {first: 3.0}}, field="features"),
        "a count below zero": sent({"features": {**whole, first: -1}}, field=f"features.{first}"),
        **{
            f"{name} in percent": sent({"features": {**whole, name: 37}}, field=f"features.{name}")
            for name in READS[model]
            if POSSIBLE[name] == (0.0, 1.0)
        },
        "an empty row among others": sent(
            {"instances": [{"features": row}, {"features": {}}]}, field="instances[1].features"
        ),
        "an array of nothing": Bad(npy(np.full((2, len(row)), np.nan, np.float32)), 422, "rows[0].features", NPY),
        "an array of another width": Bad(npy(np.zeros((2, len(row) + 1), np.float32)), 422, "features", NPY),
        "an infinite number in an array": Bad(npy(np.full(len(row), np.inf, np.float32)), 422, "features", NPY),
    }


def rows(model: str, count: int, seed: int = 0) -> np.ndarray:
    """Return plausible rows, float32 [count, features]."""
    generator = np.random.default_rng(seed)
    drawn = generator.exponential(3.0, (count, len(READS[model]))).round(3).astype(np.float32)
    most = np.array([np.inf if POSSIBLE[name][1] is None else POSSIBLE[name][1] for name in READS[model]], np.float32)
    return np.minimum(drawn, most)

"""Good and bad requests of the five models of code health, for every test that sends some."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from handlers.wire import NPY
from models.code_health.features import READS
from tests.requests import Bad, npy, sent
from training.archive import Release
from training.code_health import Options, Trained, train
from training.code_health_fit import MODELS
from training.code_health_release import release
from training.data.code_health_synthetic import Synthesis

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
        {"features": {name: None if place % 3 else float(values[2, place]) for place, name in enumerate(names)}},
        {"features": {names[0]: 3}},
    ]


def bad(model: str) -> dict[str, Bad]:
    """Return every kind of bad request that is particular to rows of features, by name."""
    first = READS[model][0]
    row = rows(model, 1)[0].tolist()
    return {
        "features null": sent({"features": None}, field="features"),
        "features a number": sent({"features": 1.5}, field="features"),
        "one feature too few": sent({"features": row[:-1]}, field="features"),
        "one feature too many": sent({"features": [*row, 1.0]}, field="features"),
        "a feature by another name": sent({"features": {"lines": 3}}, field="features.lines"),
        "a feature as a string": sent({"features": {first: "3"}}, field=f"features.{first}"),
        "a feature as a truth": sent({"features": {first: True}}, field=f"features.{first}"),
        "a feature beyond belief": sent({"features": {first: 1e31}}, field=f"features.{first}"),
        "an array of another width": Bad(npy(np.zeros((2, len(row) + 1), np.float32)), 422, "features", NPY),
        "an infinite number in an array": Bad(npy(np.full(len(row), np.inf, np.float32)), 422, "features", NPY),
    }


def rows(model: str, count: int, seed: int = 0) -> np.ndarray:
    """Return plausible rows, float32 [count, features]."""
    generator = np.random.default_rng(seed)
    return generator.exponential(3.0, (count, len(READS[model]))).round(3).astype(np.float32)

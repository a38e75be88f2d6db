"""Every model of every family, loaded from a built archive in this process, for the tests that hold for all of them."""

import functools
import importlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archives.store import unpack
from handlers.base import Handler
from handlers.decoding import JSON
from tests.bad_requests import Bad, bad_anywhere
from tests.handlers.context import Context
from tests.serving import ROOT
from training.packaging.archive import build

FAMILIES = sorted(path.stem for path in (ROOT / "tests" / "families").glob("[a-z]*.py"))
MODELS = {model: family for family in FAMILIES for model in importlib.import_module(f"tests.families.{family}").MODELS}

Answer = tuple[int, dict[str, Any]]


def family(model: str) -> Any:
    """Return the module of tests/families that knows the model."""
    return importlib.import_module(f"tests.families.{MODELS[model]}")


@functools.cache
def loaded(model: str) -> tuple[Handler[Any], Path]:
    """Build a model's archive, unpack it, and load its handler from this tree; `sweep` takes the folder away."""
    release = family(model).releases()[model]
    store = Path(tempfile.mkdtemp(prefix="marina-family-"))
    _stores.append(store)
    unpack(build(release, store).path, store / "unpacked")
    module, _, name = release.handler.partition(":")
    handler: Handler[Any] = getattr(importlib.import_module(module), name)()
    handler.initialize(Context(store / "unpacked"))
    return handler, store


_stores: list[Path] = []


def sweep() -> None:
    """Remove what `loaded` built."""
    while _stores:
        shutil.rmtree(_stores.pop(), ignore_errors=True)
    loaded.cache_clear()


@dataclass(frozen=True)
class Whole:
    """One request's answer: with its headers, and the bytes of its body counted."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]
    size: int


def ask_whole(model: str, *requests: tuple[bytes, dict[str, str]]) -> list[Whole]:
    """Have one batch answered."""
    handler, store = loaded(model)
    context = Context(store / "unpacked", [headers for _, headers in requests])
    bodies = handler.handle([{"body": bytearray(body)} for body, _ in requests], context)
    answers = zip(context.statuses, map(json.loads, bodies), context.response_headers, map(len, bodies), strict=True)
    return [Whole(*answer) for answer in answers]


def ask(model: str, *requests: tuple[bytes, dict[str, str]]) -> list[Answer]:
    """Have one batch answered; returns each request's status and body."""
    return [(one.status, one.body) for one in ask_whole(model, *requests)]


def as_json(value: Any, **headers: str) -> tuple[bytes, dict[str, str]]:
    """Return a JSON request."""
    return json.dumps(value).encode(), {"Content-Type": JSON, **headers}


def close(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same up to 1e-5 in their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-5, abs=1e-5)
    return bool(one == other)


def bad_of(model: str) -> dict[str, Bad]:
    """Return every kind of bad request that a model may be sent, by name."""
    mine: dict[str, Bad] = family(model).bad(model)
    return bad_anywhere(family(model).good(model)[0]) | mine

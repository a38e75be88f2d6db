"""A synthetic model to be watched: two quantities, two labels, confidence; and its answers, as they are logged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from archives.certificate import write_npz
from archives.contract import Contract, Tensor, write_contract
from archives.reference import Reference
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, PREDICTIONS
from marina.monitoring.drift_watch import Version
from marina.monitoring.streams import Watchlist
from marina.monitoring.watch_settings import WatchSettings
from marina.releases.declarations import digest
from marina.serving.stub_archive import build_stub, build_variant

MODEL, VERSION, SHA256 = "colours", "1.0", "a" * 64
BEGAN = 1_000_000.0
LABELS = ("red", "blue")


def reference(rows: int = 4_000, seed: int = 0) -> Reference:
    """Return what the model was evaluated on: hue is normal, size is a count that is often 0."""
    rng = np.random.default_rng(seed)
    return Reference(
        summary={
            "hue": rng.normal(0, 1, rows).astype(np.float32),
            "size": rng.poisson(1.5, rows).astype(np.float32),
        },
        confidence=rng.beta(8, 2, rows).astype(np.float32),
        predicted=(rng.random(rows) < 0.1).astype(np.int64),
        labels=LABELS,
    )


def version(settings: WatchSettings | None = None, rows: int = 4_000) -> Version:
    """Return the version that answers."""
    return Version(MODEL, VERSION, SHA256, BEGAN, Watchlist.of(reference(rows)), settings or WatchSettings())


def answers(
    count: int, first: int = 0, every_s: float = 14.0, blue: float = 0.1, hue: float = 0.0, seed: int = 1
) -> list[dict[str, Any]]:
    """Return rows of answers that come one after another from `BEGAN` on."""
    rng = np.random.default_rng((seed, first))
    return [
        {
            "request_id": f"r{number:08d}",
            "model": MODEL,
            "version": VERSION,
            "instance": 0,
            "time": BEGAN + 1 + number * every_s,
            "picked": True,
            "label": LABELS[int(rng.random() < blue)],
            "confidence": float(rng.beta(8, 2)),
            "answer": "{}",
            "summary": json.dumps([float(rng.normal(hue)), float(rng.poisson(1.5))]),
        }
        for number in range(first, first + count)
    ]


def insert(database: Database, rows: list[dict[str, Any]]) -> None:
    """Write answers to the log."""
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), rows)


def declare(database: Database, store: Path, rows: int = 1_500, at: float = BEGAN) -> Path:
    """Build an archive of the model, and declare it; return its path."""
    store.mkdir(exist_ok=True)
    known = reference(rows)
    tensors = (Tensor("x", "float32", ("batch",)),)
    contract = Contract(MODEL, VERSION, "stub", "classification", tensors, tensors, LABELS, summary=("hue", "size"))
    assert known.confidence is not None and known.predicted is not None
    changes = {
        "contract.json": write_contract(contract),
        "reference.npz": write_npz({**known.summary, "confidence": known.confidence, "predicted": known.predicted}),
        "provenance.json": json.dumps({"metrics": {"accuracy": 0.9}}).encode(),
    }
    path = build_variant(build_stub(store, MODEL, VERSION), store, changes)
    row = {"model": MODEL, "version": VERSION, "archive": str(path), "sha256": digest(path)}
    with database.writing() as connection:
        connection.execute(sa.insert(DECLARATIONS), row | {"weight": 1.0, "input_share": 0.0, "declared_at": at})
    return path

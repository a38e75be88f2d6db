"""Pairs of answers in the database, drawn at random, for tests of what is reported of them."""

import json
from typing import Any

import numpy as np
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import INPUTS, LABELS, SHADOW_PAIRS

MODEL = "signs"
NAMES = ("hello", "thanks", "yes")


def drawn(
    database: Database,
    count: int,
    agree: float = 0.95,
    failed: float = 0.0,
    labelled: float = 0.5,
    lost: float = 0.0,
    begin: int = 0,
) -> list[dict[str, Any]]:
    """Write pairs, and labels for some; stable is always right, and a share of disagreements falls on "hello"."""
    rng = np.random.default_rng(begin)
    pairs, inputs, labels = [], [], []
    for number in range(begin, begin + count):
        truth = NAMES[number % 3]
        wrong = NAMES[(number + 1) % 3]
        fails, same, right = rng.random() < failed, rng.random() < agree, rng.random() >= lost
        key = {"request_id": f"r{number}", "model": MODEL}
        stable = truth if right or same else wrong
        pair: dict[str, Any] = {
            "shadow": "2.0",
            "instance": 0,
            "stable": "1.0",
            "time": 1000.0 + number,
            "status": 590 if fails else 200,
            "stable_label": stable,
            "shadow_label": None if fails else stable if same else wrong if stable == truth else truth,
            "stable_confidence": 0.8,
            "shadow_confidence": None if fails else 0.9,
            "stable_value": None,
            "shadow_value": None,
            "stable_ms": 2.0,
            "shadow_ms": None if fails else 3.0,
        }
        pairs.append(key | pair)
        body = json.dumps({"signer": f"s{number % 2}", "length": number, "frames": [1]}).encode()
        kept = {"version": "1.0", "time": 1000.0 + number, "content_type": "application/json", "body": body}
        inputs.append(key | kept)
        if rng.random() < labelled:
            labels.append({"request_id": f"r{number}", "instance": 0, "label": truth, "time": 5000.0})
    with database.writing() as connection:
        for table, rows in ((SHADOW_PAIRS, pairs), (INPUTS, inputs), (LABELS, labels)):
            if rows:
                connection.execute(sa.insert(table), rows)
    return pairs

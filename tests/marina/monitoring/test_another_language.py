"""The whole way from requests to a drift alert: the catalogue is asked in a language that it was not trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from archives.archive import open_archive
from archives.reference import read_reference
from handlers.spool import Sampling, Spool
from marina.database.connection import Database
from marina.database.tables import PREDICTIONS
from marina.events.spool import read_entries
from marina.monitoring.alerts import undecided
from marina.monitoring.dispersion import WARM_UP
from marina.monitoring.drift_watch import DriftWatch, Version
from marina.monitoring.streams import Watchlist
from marina.monitoring.watch_settings import WatchSettings
from tests.handlers.every import as_json, ask, loaded
from training.catalog.recipe import products_of
from training.catalog.synthetic.listings import Synthesis, generate

ENGLISH = """
    garden swing outdoor children wooden toy board game kitchen knife stainless steel pool pump filter blanket cotton
    pillow cover second hand book novel comic magazine video console controller wireless charger screen protector
"""
EVERY_S = 14.0
AT_ONCE = 64
BATCH, WARM = 32, 32 * WARM_UP


def french(count: int) -> list[dict[str, str | None]]:
    """Return products as the generator makes them, of another seed than the training's."""
    made = products_of(generate(Synthesis(products=count, seed=11)))
    return [{"designation": one.designation, "description": one.description} for one in made][:count]


def english(count: int) -> list[dict[str, str | None]]:
    """Return titles of English words."""
    chance, words = np.random.default_rng(2), ENGLISH.split()
    return [{"designation": " ".join(chance.choice(words, 7)), "description": None} for _ in range(count)]


def log(
    database: Database, folder: Path, products: Sequence[dict[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> Version:
    """Ask the handler, and take what it logs over; return the version that answered."""
    handler, store = loaded("catalog")
    monkeypatch.setattr(handler, "_spool", Spool(folder, "catalog", "1.0", Sampling(), 1 << 28))
    monkeypatch.setattr(handler._batch, "_summarised", True)
    for first in range(0, len(products), AT_ONCE):
        some = products[first : first + AT_ONCE]
        headers = [{"X-Request-Id": f"r{first + place:06d}", "X-Picked": "1"} for place in range(len(some))]
        assert {status for status, _ in ask("catalog", *map(as_json_with, some, headers))} == {200}
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    entries = read_entries(lines)
    assert not entries.malformed and len(entries.predictions) == len(products)
    began = min(row[4] for row in entries.predictions)
    spread = [(*row[:4], began + number * EVERY_S, *row[5:]) for number, row in enumerate(entries.predictions)]
    with database.writing() as connection:
        database.add_rows(connection, PREDICTIONS, spread)
    known = read_reference(open_archive(store / "catalog-1.0.mar"))
    return Version("catalog", "1.0", "a" * 64, began - 1.0, Watchlist.of(known), WatchSettings())


def as_json_with(body: dict[str, str | None], headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Return a request with its own headers."""
    return as_json(body, **headers)


def watch(database: Database, one: Version) -> None:
    """Take every batch that is there."""
    later = one.since + 10_000_000
    while DriftWatch(database, size=BATCH).step(one, later):
        pass


@pytest.mark.slow
def test_another_language_is_an_alert_that_names_what_moved(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = log(database, tmp_path, [*french(WARM + 256), *english(512)], monkeypatch)
    watch(database, one)
    with database.reading() as connection:
        [alert] = undecided(connection, "catalog")
    assert alert.kind == "drift" and alert.evidence >= alert.needed
    assert "known" in alert.what


@pytest.mark.slow
def test_the_same_language_is_none(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch(database, log(database, tmp_path, french(WARM + 768), monkeypatch))
    with database.reading() as connection:
        assert undecided(connection, "catalog") == []

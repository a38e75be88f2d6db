"""A flood of labels is bounded, and the rest of the server goes on."""

from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from benchmarks.labels import flood
from benchmarks.load_generator import request
from marina.database.connection import Database
from marina.database.tables import EARLY_LABELS
from marina.events.labels import MOST_EARLY_OF_ONE
from marina.serving.stub_archive import build_stub
from marina.serving.temporary_server import running


@pytest.mark.slow
def test_a_flood_of_labels_is_bounded_and_predictions_and_reports_go_on(tmp_path: Path) -> None:
    with running([build_stub(tmp_path)]) as server:
        seen = flood(server, request("/predictions/empty", b"{}"), labels=50_000, clients=6, seconds=6)
        late = httpx.post(f"{server.url}/feedback", json={"request_id": "a", "label": "cat"}, timeout=30)
        database = Database(f"sqlite:///{server.state_dir / 'marina.db'}")
        with database.reading() as connection:
            kept = connection.execute(sa.select(sa.func.count()).select_from(EARLY_LABELS)).scalar_one()
        database.close()
    assert late.status_code == 429 and "Retry-After" in late.headers
    assert seen.beside.errors == 0 and seen.beside.per_second > 0
    assert seen.outcomes.total() >= 50_000
    assert seen.outcomes["early"] <= kept == MOST_EARLY_OF_ONE
    assert seen.bytes_kept < 40 * 2**20
    assert seen.report_s < 10  # as long as a server counts as alive; benchmarks/labels.py has the bar

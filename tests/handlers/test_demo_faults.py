import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archives.store import unpack
from handlers.catalog import CatalogHandler
from handlers.decoding import JSON
from handlers.demo_faults import DELAY_S, FAILING_PERCENT, FailingCatalogHandler, SlowCatalogHandler
from tests.families.catalog import releases
from tests.handlers.context import Context
from training.packaging.archive import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked archive whose handler is the failing one: it was linted and its golden inputs were replayed."""
    store = tmp_path_factory.mktemp("catalog")
    made = replace(releases()["catalog"], handler="handlers.demo_faults:FailingCatalogHandler")
    unpack(build(made, store).path, store / "unpacked")
    return store / "unpacked"


def statuses(handler: CatalogHandler, folder: Path, bodies: list[dict[str, Any]]) -> list[int]:
    context = Context(folder, [{"Content-Type": JSON}] * len(bodies))
    handler.handle([{"body": bytearray(json.dumps(body).encode())} for body in bodies], context)
    return context.statuses


def test_the_failing_version_fails_on_its_share_of_requests_and_on_the_same_ones_again(folder: Path) -> None:
    assert (folder / "handlers" / "demo_faults.py").exists(), "its code travels in the archive"
    handler = FailingCatalogHandler()
    handler.initialize(Context(folder))
    bodies = [{"instances": [{"designation": f"piscine {number}"}, {"designation": "lampe"}]} for number in range(1000)]
    found = statuses(handler, folder, bodies)
    failed = [status for status in found if status != 200]
    assert set(failed) == {592}
    assert 0.3 * FAILING_PERCENT < len(failed) / 10 < 2 * FAILING_PERCENT
    assert statuses(handler, folder, bodies) == found
    alone = [body["instances"][0] for body in bodies]
    assert set(statuses(handler, folder, alone)) == {200}, "the example that opens a version has no instances"


def test_the_slow_version_takes_its_time_and_answers(folder: Path) -> None:
    handler = SlowCatalogHandler()
    handler.initialize(Context(folder))
    start = time.perf_counter()
    assert statuses(handler, folder, [{"designation": "piscine"}]) == [200]
    assert time.perf_counter() - start >= DELAY_S

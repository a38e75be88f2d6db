"""What the products' interface costs on top of a model's own address, and how fast a cached answer is.

    python -m benchmarks.products
    python -m benchmarks.products --requests 5000 --redis redis://127.0.0.1:6379/0

One connection at a time asks a stub of code_risk, in turns: the model's own address, the same through the products'
interface with a question that is new each time, and one question again and again. The stub costs nothing, so what
differs is the interface.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.host import describe_machine
from marina.processes.console import show
from marina.serving import temporary_server
from marina.serving.stub_archive import build_stub
from models.code_health.features import READS

MODEL = "code_risk"
ROUNDS = 10
WARM_UP = 50

STUB = """
from handlers.torchserve_protocol import read_ahead


class Stub:
    def initialize(self, context):
        read_ahead()

    def handle(self, data, context):
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        return [b'{"version": "1.0", "predictions": {"value": 0.5, "label": "sound"}}'] * len(data)
"""


def measure(ask: Callable[[int], httpx.Response], count: int, first: int) -> list[float]:
    """Ask one after the other; return how long each took, in milliseconds."""
    took = []
    for number in range(first, first + count):
        begun = time.perf_counter()
        answer = ask(number)
        took.append(1000 * (time.perf_counter() - begun))
        if answer.status_code != 200:
            raise SystemExit(f"{answer.status_code}: {answer.text}")
    return took


def question(number: int) -> dict[str, Any]:
    """Return a question that no other number has."""
    return {"features": {name: float(number) if at == 0 else 1.0 for at, name in enumerate(READS[MODEL])}}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="products", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="of each kind (default: %(default)s)")
    parser.add_argument("--redis", default="", metavar="URL", help="a Redis that is the second cache")
    options = parser.parse_args(argv)
    values = {"ml_cache_redis_url": options.redis} if options.redis else {}
    with tempfile.TemporaryDirectory() as folder:
        archive = build_stub(Path(folder), MODEL, code=STUB)
        with temporary_server.running([archive], values) as server, httpx.Client(base_url=server.url) as client:
            asks: dict[str, Callable[[int], httpx.Response]] = {
                "model": lambda number: client.post(f"/predictions/{MODEL}", json=question(number)),
                "interface": lambda number: client.post("/ml/code/risk", json=question(number)),
                "cached": lambda _: client.post("/ml/code/risk", json=question(0)),
            }
            while asks["cached"](0).status_code == 503:
                time.sleep(0.1)
            took: dict[str, list[float]] = {name: [] for name in asks}
            per_round, number = max(1, options.requests // ROUNDS), 1
            for turn in range(ROUNDS + 1):
                for name, ask in asks.items():
                    found = measure(ask, per_round if turn else WARM_UP, number)
                    number += len(found)
                    took[name] += found if turn else []
    show(describe_machine())
    for name, found in took.items():
        tenths = statistics.quantiles(found, n=100)
        show(f"{name:10} p50 {tenths[49]:.2f} ms, p95 {tenths[94]:.2f} ms, p99 {tenths[98]:.2f} ms of {len(found)}")
    own = statistics.median(took["interface"]) - statistics.median(took["model"])
    show(f"the interface adds {own:.2f} ms (difference of the medians)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

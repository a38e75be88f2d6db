"""What the products' interface costs on top of a model's own address, and how fast a cached answer is.

    python -m benchmarks.products
    python -m benchmarks.products --requests 5000 --redis redis://127.0.0.1:6379/0

One connection at a time asks a stub of code_risk, in turns: the model's own address (model), the same through the
products' interface with a question that is new each time (interface), one question again and again (cached), and a file
that the interface holds in memory (file): what gateway and HTTP server cost where nothing is done. The stub costs
nothing, so what differs is the interface. Requests are ready bytes on a plain socket, so the client costs next to
nothing. Beside how long answers took: the processor time of the interface's process per request. Where other programs
keep the machine busy, the tenth part that was fastest (p10) says more than the median.
"""

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson
import psutil

from benchmarks.host import describe_machine
from benchmarks.load_generator import request
from marina.processes.console import show
from marina.serving import temporary_server
from marina.serving.stub_archive import build_stub
from models.code_health.features import READS

MODEL = "code_risk"
ROUNDS = 10
WARM_UP = 200

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

FILE: Final = b"GET /docs/start.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Connection:
    """One keep-alive connection that asks, waits and reads no more of an answer than its status and length."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, question: bytes) -> tuple[int, bytes]:
        """Return an answer's status and body."""
        self._socket.sendall(question)
        said = b""
        while True:
            if not (part := self._socket.recv(65536)):
                raise SystemExit(f"the server closed the connection after {said[:200]!r}")
            said += part
            head, found, body = said.partition(b"\r\n\r\n")
            if found and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
                return int(head[9:12]), body

    def close(self) -> None:
        self._socket.close()


def question(number: int) -> bytes:
    """Return the body of a question that no other number has."""
    return orjson.dumps({"features": {name: float(number) if at == 0 else 1.0 for at, name in enumerate(READS[MODEL])}})


def requests(kind: str, first: int, count: int) -> list[bytes]:
    """Return requests of a kind, ready to be sent."""
    if kind == "file":
        return [FILE] * count
    path = f"/predictions/{MODEL}" if kind == "model" else "/ml/code/risk"
    return [request(path, question(0 if kind == "cached" else number)) for number in range(first, first + count)]


def measure(connection: Connection, asked: list[bytes]) -> list[float]:
    """Ask one after the other; return how long each took, in milliseconds."""
    took = []
    for one in asked:
        begun = time.perf_counter()
        status, body = connection.ask(one)
        took.append(1000 * (time.perf_counter() - begun))
        if status != 200:
            raise SystemExit(f"{status}: {body.decode()}")
    return took


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="products", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="of each kind (default: %(default)s)")
    parser.add_argument("--redis", default="", metavar="URL", help="a Redis that is the second cache")
    options = parser.parse_args(argv)
    values = {"ml_cache_redis_url": options.redis} if options.redis else {}
    took: dict[str, list[float]] = {name: [] for name in ("model", "interface", "cached", "file")}
    used = dict.fromkeys(took, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        archive = build_stub(Path(folder), MODEL, code=STUB)
        with temporary_server.running([archive], values) as server:
            connection = Connection(server.url)
            while connection.ask(requests("cached", 0, 1)[0])[0] == 503:
                time.sleep(0.1)
            process = psutil.Process(server.pids["products"])
            per_round, number = max(1, options.requests // ROUNDS), 1
            for turn in range(ROUNDS + 1):
                for name in took:
                    asked = requests(name, number, per_round if turn else WARM_UP)
                    number += len(asked)
                    before = sum(process.cpu_times()[:2])
                    found = measure(connection, asked)
                    if turn:
                        took[name] += found
                        used[name] += sum(process.cpu_times()[:2]) - before
            connection.close()
    show(f"{describe_machine()}, load average {os.getloadavg()[0]:.1f}")
    at: dict[str, dict[int, float]] = {}
    for name, found in took.items():
        hundredths = statistics.quantiles(found, n=100)
        at[name] = {percent: hundredths[percent - 1] for percent in (10, 50, 95, 99)}
        said = ", ".join(f"p{percent} {value:.2f}" for percent, value in at[name].items())
        show(f"{name:10} {said} ms of {len(found)}; {1000 * used[name] / len(found):.2f} ms of processor time")
    for percent in (10, 50):
        adds = at["interface"][percent] - at["model"][percent]
        show(f"p{percent}: the interface adds {adds:.2f} ms to the model; a file takes {at['file'][percent]:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

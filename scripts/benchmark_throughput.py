"""Measure a running server against the in-process limit: the same graph called in a loop on the same cores.

``single`` sends one request at a time and compares latencies; ``batch`` keeps many connections busy and compares
throughput. The in-process limit is measured first, while the server idles: as many processes as the server has
workers, each calling the same engine in a loop, at the best of several batch sizes.

Examples
--------
    make serve                                                        # in another terminal
    python scripts/benchmark_throughput.py --mode single
    python scripts/benchmark_throughput.py --mode batch --batch-size 32 --connections 16
"""

import argparse
import asyncio
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson

from archives.contract import read_contract
from archives.store import newest, stored, unpack
from handlers.engine import OnnxEngine
from handlers.wire import JSON, NPY
from rollout.machine import describe_machine
from settings import Settings

FRAME_WIDTH = 225
WORKERS = 2
"""Processes in process: as many as a signflow archive asks TorchServe for."""


@dataclass(frozen=True)
class Result:
    """What one run measured; latencies in milliseconds."""

    name: str
    per_second: float
    p50: float
    p95: float
    p99: float
    errors: int

    @staticmethod
    def of(name: str, latencies_s: Sequence[float], seconds: float, rows: int = 1, errors: int = 0) -> "Result":
        p50, p95, p99 = np.percentile(np.asarray(latencies_s) * 1e3, [50, 95, 99])
        return Result(name, len(latencies_s) * rows / seconds, p50, p95, p99, errors)


class Connection(asyncio.Protocol):
    """One keep-alive connection that always has exactly one request in flight."""

    def __init__(self, requests: Sequence[bytes], latencies: list[float], deadline: float) -> None:
        self.requests = requests
        self.latencies = latencies
        self.deadline = deadline
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()
        self._at = 0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self.requests[self._at % len(self.requests)])
        self._at += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._started)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if now < self.deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def drive(
    url: str, requests: Sequence[bytes], connections: int, seconds: float
) -> tuple[list[float], int, float]:
    """Keep connections busy; return latencies in seconds, the number of errors, and the time it took."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    latencies: list[float] = []
    start = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(requests, latencies, start + seconds), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return latencies, sum(protocol.errors for _, protocol in made), time.perf_counter() - start


def in_process(archive: Path, frames: int, batch: int, processes: int, seconds: float) -> Result:
    """Call the archive's graph in a loop in several processes at once."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    with tempfile.TemporaryDirectory(prefix="marina-benchmark-") as folder:
        unpack(archive, Path(folder))
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes) as pool:
            arguments = [(folder, frames, batch, threads, seconds)] * processes
            latencies = [one for part in pool.starmap(_loop, arguments) for one in part]
    return Result.of(f"in process, batch {batch}, {processes} x {threads} threads", latencies, seconds, batch)


def served_archive(settings: Settings) -> Path:
    """Return the newest signflow archive of the store.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for one in newest(settings.archive_store):
        if one.model == "signflow":
            return one.path
    raise FileNotFoundError(f"no signflow archive in {settings.archive_store}: make serve trains and builds one")


def _loop(folder: str, frames: int, batch: int, threads: int, seconds: float) -> list[float]:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    engine = OnnxEngine(Path(folder) / "model.onnx", read_contract(Path(folder) / "contract.json"), None)
    landmarks = np.stack([sequence(frames, seed) for seed in range(batch)])
    inputs = {"landmarks": landmarks, "lengths": np.full(batch, frames, np.int64)}
    for _ in range(5):
        engine.run(inputs)
    latencies = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        engine.run(inputs)
        latencies.append(time.perf_counter() - started)
    return latencies


def sequence(frames: int, seed: int) -> np.ndarray:
    """Return a plausible sequence of landmarks, float32 [frames, 225]."""
    return np.random.default_rng(seed).uniform(0.2, 0.8, (frames, FRAME_WIDTH)).astype(np.float32)


def body_of(kind: str, array: np.ndarray) -> bytes:
    """Return a sequence as a request body, ``npy`` or ``json``."""
    if kind == "json":
        return orjson.dumps({"frames": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def requests_for(model: str, kind: str, frames: int, token: str | None) -> list[bytes]:
    """Return a few different HTTP requests, ready to be sent."""
    requests = []
    for seed in range(8):
        body = body_of(kind, sequence(frames, seed))
        head = f"POST /predictions/{model} HTTP/1.1\r\nHost: marina\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {NPY if kind == 'npy' else JSON}\r\n"
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        requests.append(head.encode() + b"\r\n" + body)
    return requests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("single", "batch", "limit"), default="batch", help="limit: in process only")
    parser.add_argument("--batch-size", type=int, default=32, help="largest batch tried in process (batch mode)")
    parser.add_argument("--connections", type=int, default=16, help="connections kept busy in batch mode")
    parser.add_argument("--frames", type=int, default=64, help="frames in each sequence")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument("--format", choices=("npy", "json"), nargs="+", default=["npy", "json"])
    parser.add_argument(
        "--workers", type=int, default=WORKERS, help="processes in process: as many as the server has workers"
    )
    parser.add_argument(
        "--archive", type=Path, help="the archive being served (default: the newest signflow in the store)"
    )
    parser.add_argument("--url", default=None, help="where the server is (default: this installation's)")
    options = parser.parse_args()
    settings = Settings()
    url = options.url or f"http://127.0.0.1:{settings.inference_port}"
    try:
        archive = options.archive or served_archive(settings)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    token = settings.inference_tokens[0].get_secret_value() if settings.inference_tokens else None

    sizes = [1] if options.mode == "single" else sorted({1, 2, 4, 8, options.batch_size})
    processes = 1 if options.mode == "single" else options.workers
    results = [in_process(archive, options.frames, size, processes, options.seconds / 2) for size in sizes]
    limit = max(results, key=lambda result: result.per_second)
    connections = 1 if options.mode == "single" else options.connections
    for kind in options.format if options.mode != "limit" else []:
        requests = requests_for(stored(archive).model, kind, options.frames, token)
        try:
            asyncio.run(drive(url, requests, connections, 2))  # warm up
            latencies, errors, took = asyncio.run(drive(url, requests, connections, options.seconds))
        except OSError as error:
            print(f"Nothing answers at {url} ({error}): start it with make serve.", file=sys.stderr)
            return 1
        results.append(Result.of(f"served, {kind}, {connections} connection(s)", latencies, took, errors=errors))

    print(f"{archive.name}, sequences of {options.frames} frames, on {describe_machine()}")
    print(
        f"{'':44} {'seq/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'errors':>7} {'of limit':>9} {'p50 +ms':>8}"
    )
    for result in results:
        print(
            f"{result.name:44} {result.per_second:9.1f} {result.p50:8.2f} {result.p95:8.2f} {result.p99:8.2f} "
            f"{result.errors:7d} {result.per_second / limit.per_second:9.1%} {result.p50 - results[0].p50:+8.2f}"
        )
    return 1 if any(result.errors for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

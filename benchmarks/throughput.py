"""Measure the served model against the in-process limit: the same graph called in a loop on the same cores.

``single`` sends one request at a time and compares latencies; ``batch`` keeps many connections busy and compares
throughput, then sends at half of that rate, at random times as users do, for the latencies; ``sweep`` tries settings
and prints the table that decides them. Each starts a server of its own on free ports, beside an empty model that shows
what the stack costs when the model costs nothing; ``--url`` measures one that runs already. Java compiles itself while
it warms up, which takes tens of thousands of requests: the empty model gets them.

In ``single`` mode the graph is also called with pauses, as a worker is, and the empty model seldom: after a pause the
stack takes longer. The in-process limit is measured while the server idles: as many processes as workers, each
with the threads of a worker, at the best of several batch sizes.

Examples
--------
    python -m benchmarks.throughput --mode single                     # or python scripts/benchmark_throughput.py …
    python -m benchmarks.throughput --mode batch --batch-size 32 --connections 16
    python -m benchmarks.throughput --mode batch --format npy --precision float32 reduced
    python -m benchmarks.throughput --mode sweep --archive archives/store/signflow-1.0.mar
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml
from numpy.typing import NDArray

from archives.archive import open_archive
from archives.certificate import Arrays
from archives.contract import ArchiveError, read_contract
from archives.store import newest, stored, unpack
from benchmarks.host import describe_machine
from benchmarks.load_generator import Result, catch_up, cpu_seconds, measure_serving, request
from handlers.decoding import JSON, NPY
from handlers.engine import PRECISIONS, open_verified
from marina.processes.console import show
from marina.processes.cpu import usable_cores
from marina.serving import temporary_server
from marina.serving.stub_archive import build_stub, build_variant
from marina.settings import Settings, read_settings
from training.signflow.synthetic.signing import Synthesis, generate

EMPTY_MODEL = "empty"
PAUSE_S = 0.004
"""What a worker waits between two requests of one connection, about."""
SELDOM = 60
"""Requests a second that leave a pause between two, as a large model does."""
SWEEP = (  # workers, batch size, delay in ms (0: send when idle)
    (2, 32, 0),
    (2, 16, 0),
    (2, 8, 0),
    (2, 4, 0),
    (2, 2, 0),
    (2, 1, 0),
    (1, 8, 0),
    (2, 8, 2),
    (2, 8, 10),
)


def in_process(
    archive: Path, frames: int, batch: int, processes: int, threads: int, seconds: float, pause_s: float = 0
) -> Result:
    """Call the archive's graph in a loop in several processes at once, with a pause between calls."""
    with tempfile.TemporaryDirectory(prefix="marina-benchmark-") as folder:
        unpack(archive, Path(folder))
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            latencies = pool.starmap(_loop, [(folder, frames, batch, threads, seconds, pause_s)] * processes)
    name = f"in process, batch {batch}, {processes} x {threads} threads" + (", paced" if pause_s else "")
    return Result.of(name, [one for part in latencies for one in part], seconds, batch)


def _loop(folder: str, frames: int, batch: int, threads: int, seconds: float, pause_s: float) -> list[float]:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    unpacked = Path(folder)
    engine = open_verified(unpacked, read_contract(unpacked / "contract.json"), None).engine
    landmarks = np.stack([sequence(frames, seed) for seed in range(batch)])
    inputs: Arrays = {"landmarks": landmarks, "lengths": np.full(batch, frames, np.int64)}
    for _ in range(5):
        engine.run(inputs)
    latencies = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        engine.run(inputs)
        latencies.append(time.perf_counter() - started)
        time.sleep(pause_s)
    return latencies


def sequence(frames: int, seed: int) -> NDArray[np.float32]:
    """Return a plausible sequence of landmarks, float32 [frames, 225]: a sign at that many frames, trembling."""
    sign = generate(Synthesis(signs=2, signers=1, takes=1)).sequences[0]
    shown = sign[np.linspace(0, len(sign) - 1, frames).round().astype(int)]
    noise = np.random.default_rng(seed).normal(0, 0.01, shown.shape)
    return np.where(shown == 0, 0, shown + noise).astype(np.float32)


def body_of(kind: str, array: NDArray[np.float32]) -> bytes:
    """Return a sequence as a request body, ``npy`` or ``json``."""
    if kind == "json":
        return orjson.dumps({"frames": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def requests_for(model: str, kind: str, frames: int, token: str | None = None, tta: bool = False) -> list[bytes]:
    """Return a few different HTTP requests, ready to be sent, for test-time augmentation or without."""
    headers = {"X-TTA": "true"} if tta else {}
    requests = []
    for seed in range(8):
        body = body_of(kind, sequence(frames, seed))
        requests.append(request(f"/predictions/{model}", body, NPY if kind == "npy" else JSON, token, headers))
    return requests


def chosen_archive(settings: Settings, named: Path | None) -> Path:
    """Return the archive to measure: the named one, else the newest signflow of the store.

    Raises
    ------
    ArchiveError
        If there is none.
    """
    for path in [named] if named else [one.path for one in newest(settings.archive_store) if one.model == "signflow"]:
        return path
    raise ArchiveError(f"no signflow archive in {settings.archive_store}: make serve trains and builds one")


def workers_of(archive: Path) -> int:
    """Return how many workers an archive asks for."""
    return int(open_archive(archive).serving.get("minWorkers", 1))


def with_settings(archive: Path, folder: Path, **changes: Any) -> Path:
    """Copy an archive with other serving settings, and certify them."""
    serving = open_archive(archive).serving
    changes["handler"] = {**serving.get("handler", {}), **changes.get("handler", {})}
    return build_variant(archive, folder, {"model-config.yaml": yaml.safe_dump({**serving, **changes}).encode()})


def threads_for(workers: int) -> int:
    """Return how many threads each worker may use."""
    return max(1, usable_cores() // workers)


def measure(options: argparse.Namespace, archive: Path) -> list[Result]:
    """Measure one archive in single or batch mode, in process first, then served."""
    workers = workers_of(archive)
    single = options.mode == "single"
    connections = 1 if single else options.connections
    sizes = [1] if single else sorted({1, 2, 4, 8, options.batch_size})
    processes = 1 if single else workers
    results = []
    for size in sizes:
        results.append(in_process(archive, options.frames, size, processes, threads_for(workers), options.seconds / 2))
    if options.mode == "limit":
        return results
    if single:  # a worker waits between two requests, and comes back to cold caches
        threads = threads_for(workers)
        results.append(in_process(archive, options.frames, 1, 1, threads, options.seconds / 2, PAUSE_S))
    tokens = read_settings().inference_tokens if options.url else []
    token = tokens[0].get_secret_value() if tokens else None
    model, name = stored(archive).model, f"served, {{}}, {connections} connection(s)"
    if options.url:
        return results + loaded(model, name, options.url, token, options)
    with warm_up_engine([archive], options.format, options.warm_up) as server:
        results += loaded(model, name, server.url, token, options, server)
    return results


def measure_empty(options: argparse.Namespace) -> list[Result]:
    """Measure a model that does nothing: what the stack costs, and what it costs after a pause."""
    connections = 1 if options.mode == "single" else options.connections
    with warm_up_engine([], options.format, options.warm_up) as server:
        name = f"empty handler, {{}}, {connections} connection(s)"
        results = loaded(EMPTY_MODEL, name, server.url, None, options, server)
        if options.mode == "single":
            for kind in options.format:
                requests = requests_for(EMPTY_MODEL, kind, options.frames)
                name = f"empty handler, {kind}, {SELDOM} requests/s"
                results.append(measure_serving(name, server.url, requests, 4, options.seconds, per_second=SELDOM))
    return results


@contextlib.contextmanager
def warm_up_engine(archives: list[Path], kinds: list[str], seconds: float) -> Iterator[temporary_server.Server]:
    """Run archives beside a model that does nothing, whose many requests warm Java up as hours of slow ones would."""
    with tempfile.TemporaryDirectory(prefix="marina-benchmark-") as folder:
        empty = build_stub(Path(folder), EMPTY_MODEL, config={"batchSize": 32})
        with temporary_server.running([*archives, empty]) as server:
            for kind in kinds:
                measure_serving("warm-up", server.url, requests_for(EMPTY_MODEL, kind, 64), 16, seconds / len(kinds))
            catch_up(server)  # with logging the answers: what is measured next shares no core with that
            yield server


def measure_each(options: argparse.Namespace, archive: Path) -> list[Result]:
    """Measure an archive in every precision asked for, then the empty model."""
    results = []
    for precision in options.precision:
        with tempfile.TemporaryDirectory(prefix="marina-precision-") as folder:
            varied = with_settings(archive, Path(folder), handler={"precision": precision})
            results += [replace(one, name=f"{precision}: {one.name}") for one in measure(options, varied)]
    return results if options.mode == "limit" or options.url else results + measure_empty(options)


def loaded(
    model: str,
    name: str,
    url: str,
    token: str | None,
    options: argparse.Namespace,
    server: temporary_server.Server | None = None,
) -> list[Result]:
    """Warm a server up and measure it, once for each format; print what one of our own spends per request."""
    connections = 1 if options.mode == "single" else options.connections
    results: list[Result] = []
    for kind in options.format:
        requests = requests_for(model, kind, options.frames, token, options.tta)
        measure_serving("warm-up", url, requests, 16, options.warm_up / (4 if server else 1))
        before = cpu_seconds(server, model) if server else {}
        result = measure_serving(name.format(kind), url, requests, connections, options.seconds)
        results.append(result)
        if server:
            answered = result.per_second * options.seconds
            spent = cpu_seconds(server, model)
            parts = ", ".join(f"{part} {1e6 * (spent[part] - before[part]) / answered:.0f} µs" for part in spent)
            print(f"CPU per request, {result.name}: {parts}", flush=True)
        if options.mode == "batch":
            half = result.per_second / 2
            results.append(measure_serving(f"half of it, {kind}", url, requests, 64, options.seconds, per_second=half))
    return results


def fastest(results: list[Result]) -> float:
    """Return the highest rate among results."""
    return max(one.per_second for one in results)


def sweep(options: argparse.Namespace, archive: Path) -> None:
    """Print throughput and latency for several settings of workers, batch size and delay."""
    print(
        f"{'workers x threads':>18} {'batch':>6} {'delay ms':>9} {'1 conn. p50 ms':>15} {'16 conn. seq/s':>15} "
        f"{'p95 ms':>8}"
    )
    for workers, batch, delay in SWEEP:
        with tempfile.TemporaryDirectory(prefix="marina-sweep-") as folder:
            changes = {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch, "maxBatchDelay": delay}
            varied = with_settings(archive, Path(folder), **changes)
            with warm_up_engine([varied], ["npy"], options.warm_up) as server:
                requests = requests_for(stored(archive).model, "npy", options.frames)
                measure_serving("warm-up", server.url, requests, 16, options.warm_up / 4)
                many = measure_serving("", server.url, requests, 16, options.seconds)
                alone = measure_serving("", server.url, requests, 1, options.seconds / 2)
        print(
            f"{workers:>14} x {threads_for(workers)} {batch:6d} {delay:9d} {alone.p50:15.2f} {many.per_second:15.1f} "
            f"{many.p95:8.1f}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mode",
        choices=("single", "batch", "limit", "sweep"),
        default="batch",
        help="see above; limit: in process only",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="largest batch tried in process (batch mode)")
    parser.add_argument("--connections", type=int, default=16, help="connections kept busy in batch mode")
    parser.add_argument("--frames", type=int, default=64, help="frames in each sequence")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument(
        "--warm-up",
        type=float,
        default=20,
        help="seconds of load before it, on the empty model; a quarter as long on the model itself",
    )
    parser.add_argument("--format", choices=("npy", "json"), nargs="+", default=["npy", "json"])
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        nargs="+",
        default=["reduced"],
        help="reduced: bfloat16 where certificate and machine allow it (default); both are compared in one run",
    )
    parser.add_argument("--archive", type=Path, help="archive to measure (default: the newest signflow in the store)")
    parser.add_argument("--tta", action="store_true", help="ask for the mean over five views of each sequence")
    parser.add_argument("--served", type=float, help="a rate measured elsewhere (locust), to compare with the limit")
    parser.add_argument("--url", help="measure the server that runs there, not one of its own")
    options = parser.parse_args()
    try:
        archive = chosen_archive(read_settings(), options.archive)
        print(f"{archive.name}, sequences of {options.frames} frames, on {describe_machine()}", flush=True)
        if options.mode == "sweep":
            sweep(options, archive)
            return 0
        results = measure_each(options, archive)
    except ArchiveError as error:
        show(error, sys.stderr)
        return 1
    except OSError as error:
        print(f"Nothing answers at {options.url} ({error}): start it with make serve.", file=sys.stderr)
        return 1
    limits: dict[str, list[Result]] = {}  # by precision: what serves is compared with its own engine
    for one in results:
        if "in process" in one.name:
            limits.setdefault(one.name.partition(":")[0], []).append(one)
    print(
        f"{'':56} {'seq/s':>9} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'errors':>7} {'of limit':>9} {'p50 +ms':>8}"
    )
    for one in results:
        row = f"{one.name:56} {one.per_second:9.1f} {one.p50:8.2f} {one.p95:8.2f} {one.p99:8.2f} {one.errors:7d}"
        if own := limits.get(one.name.partition(":")[0]):
            row += f" {one.per_second / fastest(own):9.1%} {one.p50 - own[0].p50:+8.2f}"
        print(row)
    if options.served:
        for precision, own in limits.items():
            print(
                f"served elsewhere: {options.served:.1f}/s, {options.served / fastest(own):.1%} of {precision}'s limit"
            )
    return 1 if any(one.errors for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure every model of the store, served: one at a time, under load, and a hundred rows a request.

    python -m benchmarks.models                                        # the newest archive of each model
    python -m benchmarks.models --archive archives/store/code_risk-1.0.mar --stock

Requests are JSON through the gateway: a hundred different rows where a model takes rows of named features (held-out
ones, from the archive: trees answer equal rows several times as fast), elsewhere the archive's own example. ``--stock``
also measures the same archives on TorchServe alone, without a gateway, with batches of 1 and with batches of 64 that
wait 2 ms; as it comes, but that it hands bodies on as bytes, which our handlers read. Prints a table, what each part of
the server spends, and the memory of it all (PSS: what is shared is counted once).
"""

import argparse
import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil

from archives.archive import open_archive
from archives.store import newest, stored
from benchmarks.host import describe_machine
from benchmarks.load_generator import Result, catch_up, cpu_seconds, measure_serving, request
from benchmarks.throughput import with_settings
from handlers.decoding import JSON
from marina.processes.children import end_with_parent
from marina.serving import temporary_server
from marina.serving.programs import find_java
from marina.settings import read_settings

ROWS = 100
LEAST_CONNECTIONS, ON_THE_WAY = 8, 4 * 2**20
"""Connections that send a hundred rows each: as many as keep 4 MiB on the way, but at least 8."""

NUMPY = orjson.OPT_SERIALIZE_NUMPY  # NaN becomes null


def bodies(archive: Path) -> tuple[list[bytes], bytes]:
    """Return request bodies of one row each, and one body of a hundred rows."""
    opened = open_archive(archive)
    example = opened.json("example.json")
    row = {name: value for name, value in example.items() if name not in ("top_k", "session", "instances")}
    rows = [row]
    if isinstance(row.get("features"), dict):
        with np.load(io.BytesIO(opened.members["reference.npz"])) as reference:
            names = opened.contract.features
            rows = [{"features": dict(zip(names, held, strict=True))} for held in reference["features"][:ROWS]]
    many = {"instances": (rows * ROWS)[:ROWS]}
    return [orjson.dumps(one, option=NUMPY) for one in rows], orjson.dumps(many, option=NUMPY)


def measure(archive: Path, url: str, seconds: float, connections: int) -> tuple[Result, Result, Result | None]:
    """Return what one model does alone, under load, and with many rows a request (as rows per second), if it may."""
    path = f"/predictions/{stored(archive).model}"
    each, rows = bodies(archive)
    one, many = [request(path, row) for row in each], request(path, rows)
    alone = measure_serving("alone", url, one, 1, seconds / 2)
    loaded = measure_serving("loaded", url, one, connections, seconds)
    if httpx.post(url + path, content=rows, headers={"Content-Type": JSON}, timeout=30).is_client_error:
        return alone, loaded, None  # some take fewer than a hundred rows at once
    fewer = min(connections, max(LEAST_CONNECTIONS, ON_THE_WAY // len(rows)))
    measure_serving("warm-up", url, [many], fewer, 2)
    return alone, loaded, measure_serving("rows", url, [many], fewer, seconds / 2, ROWS)


@contextlib.contextmanager
def stock(archives: Sequence[Path]) -> Iterator[str]:
    """Run TorchServe as it comes, on TCP, until the block ends; yields its address."""
    ports = temporary_server.free_ports(3)
    with tempfile.TemporaryDirectory(prefix="marina-stock-") as folder:
        folder_path = Path(folder)
        (folder_path / "store").mkdir()
        for archive in archives:
            (folder_path / "store" / archive.name).write_bytes(archive.read_bytes())
        names = ("inference", "management", "metrics")
        lines = [f"{name}_address=http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)]
        lines += [f"model_store={folder_path / 'store'}", "load_models=all", "disable_token_authorization=true"]
        lines += ["decode_input_request=false"]
        (folder_path / "config.properties").write_text("\n".join([*lines, "enable_envvars_config=false"]) + "\n")
        java = find_java(read_settings())
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--disable-token-auth"]
        command += ["--ts-config", str(folder_path / "config.properties"), "--model-store", str(folder_path / "store")]
        env = {**os.environ, "PATH": f"{java.parent}:{os.environ['PATH']}", "TEMP": folder, "TMPDIR": folder}
        env |= {"JAVA_HOME": str(java.parent.parent), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command,
            cwd=folder_path,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - called from the main thread only
        )
        try:
            url, management = (f"http://127.0.0.1:{port}" for port in ports[:2])
            end = time.monotonic() + temporary_server.START_S
            while time.monotonic() < end and not all(_ready(management, stored(one).model) for one in archives):
                time.sleep(0.5)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
            with contextlib.suppress(ProcessLookupError):  # Java outlives its launcher by a second or two
                for _ in range(100):
                    os.killpg(process.pid, 0)
                    time.sleep(0.1)
                os.killpg(process.pid, signal.SIGKILL)


def _ready(management: str, model: str) -> bool:
    with contextlib.suppress(httpx.HTTPError, KeyError, ValueError, IndexError):
        described = httpx.get(f"{management}/models/{model}", timeout=5).json()
        return all(worker["status"] == "READY" for worker in described[0]["workers"])
    return False


def memory_mib(pid: int) -> float:
    """Return the memory of a process and all below it in MiB, what several share counted once."""
    top = psutil.Process(pid)
    return float(sum(one.memory_full_info().pss for one in [top, *top.children(recursive=True)])) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, action="append", metavar="FILE", help="measure this one (repeatable)")
    parser.add_argument("--connections", type=int, default=64, help="connections kept busy (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=8, help="seconds of load on each first (default: %(default)s)")
    parser.add_argument("--stock", action="store_true", help="also measure TorchServe alone, as it comes")
    options = parser.parse_args()
    settings = read_settings()
    archives = options.archive or [one.path for one in newest(settings.archive_store)]
    if not archives:
        print(f"There is no archive in {settings.archive_store}: build one (make archive FAMILY=...).")
        return 1
    print(f"JSON, {options.connections} connections under load, on {describe_machine()}", flush=True)
    print(f"{'':34} {'p50 ms at 1':>12} {'requests/s':>11} {'p95 ms':>8} {'rows/s':>10} {'errors':>7}")

    def show(name: str, alone: Result, loaded: Result, rows: Result | None) -> int:
        many = "refused" if rows is None else f"{rows.per_second:.0f}"
        errors = sum(one.errors for one in (alone, loaded, rows) if one)
        numbers = f"{alone.p50:12.2f} {loaded.per_second:11.0f} {loaded.p95:8.1f} {many:>10} {errors:7d}"
        print(f"{name:34} {numbers}", flush=True)
        return errors

    def warm(url: str, archives: Sequence[Path]) -> None:
        for archive in archives:  # all before any: Java compiles itself for tens of thousands of requests
            warming = [request(f"/predictions/{stored(archive).model}", row) for row in bodies(archive)[0]]
            measure_serving("warm-up", url, warming, options.connections, options.warm_up)

    failed = 0
    with temporary_server.running(archives) as server:
        warm(server.url, archives)
        for archive in archives:
            model = stored(archive).model
            catch_up(server)  # with logging earlier answers, which would take a core from the next ones
            before = cpu_seconds(server, model)
            results = measure(archive, server.url, options.seconds, options.connections)
            spent = cpu_seconds(server, model)
            failed += show(f"marina, {model}", *results)
            worker = psutil.Process(server.worker_pids(model)[0]).memory_full_info().pss / 2**20
            share = ", ".join(f"{part} {spent[part] - before[part]:.1f} s" for part in spent)
            print(f"{'':34} CPU: {share}; a worker's memory {worker:.0f} MiB", flush=True)
        print(f"memory of the whole server: {memory_mib(server.process.pid):.0f} MiB", flush=True)
    for batch, delay in ((1, 0), (64, 2)) if options.stock else ():
        with tempfile.TemporaryDirectory(prefix="marina-varied-") as folder:
            changes = {"batchSize": batch, "maxBatchDelay": delay or 100}
            varied = [with_settings(archive, Path(folder), **changes) for archive in archives]
            with stock(varied) as url:
                warm(url, varied)
                for archive in varied:
                    results = measure(archive, url, options.seconds, options.connections)
                    failed += show(f"stock, batch {batch}, {stored(archive).model}", *results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

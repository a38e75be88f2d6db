"""Feature reads in an open loop against a Redis of its own, cache hits under Zipf keys, and the as-of join.

    python -m benchmarks.features
    python -m benchmarks.features --rate 12000 --seconds 10 --rows 1000000 --database postgresql://USER@HOST/EMPTY

One process asks for one vector at a time at fixed times, whatever the answers do; a latency runs from when a read was
due, and beside it from when it was sent: the difference is the generator's own delay. Then one read after the other
asks for 1 to 100 rows. Redis runs on the same machine. Keys are of 5,000 entities. The join asks for as many moments as
the table has rows, of a tenth as many entities.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import redis

from archives.errors import MarinaError
from benchmarks.host import describe_machine
from marina.database.connection import Database
from marina.database.feature_tables import FEATURE_ROWS
from marina.features.store import FeatureStore
from marina.features.vectors import pack
from marina.features.views import VIEWS
from marina.processes.console import show
from marina.serving.temporary_server import free_ports

VIEW = VIEWS["code_health"]
ENTITIES = 5000
ZIPF = 1.1
TICK_S = 0.0005
ROWS = (1, 10, 50, 100)
READS = 500
PART = 10_000


class BenchmarkError(MarinaError):
    """There is nothing to measure with."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=12_000, help="vectors per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the join (0: none; default: %(default)s)")
    parser.add_argument("--database", help="URL of an empty database for the join (default: SQLite)")
    options = parser.parse_args(argv)
    print(f"{describe_machine()}; load average {os.getloadavg()[0]:.1f}")
    try:
        with tempfile.TemporaryDirectory(prefix="mf-") as folder:
            database = Database(f"sqlite:///{folder}/marina.db")
            database.upgrade()
            with _redis(Path(folder)) as url:
                asyncio.run(_reads(database, url, options.rate, options.seconds))
            if options.rows:
                _join(Database(options.database) if options.database else database, options.rows)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_ports(1)[0]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        raise BenchmarkError("no Redis here: sudo apt-get install redis-server") from None
    try:
        with redis.Redis(port=port) as client:
            end = time.monotonic() + 10
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                if time.monotonic() > end:
                    raise BenchmarkError("Redis does not answer")
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


async def _reads(database: Database, url: str, rate: int, seconds: float) -> None:
    names = [f"repository {number}" for number in range(ENTITIES)]
    rng = np.random.default_rng(0)
    writer = FeatureStore(database, dict(VIEWS), url)
    values = rng.normal(size=(ENTITIES, len(VIEW.features)))
    writer.write(VIEW.name, names, [time.time() - 10] * ENTITIES, values)
    count = int(rate * seconds) + rate
    for title, cache_bytes, keys in (
        ("L1 off, uniform keys", 0, rng.integers(0, ENTITIES, count)),
        (f"L1 on, Zipf {ZIPF} keys", 32 * 2**20, rng.choice(ENTITIES, count, p=_zipf())),
    ):
        async with FeatureStore(database, dict(VIEWS), url, cache_bytes) as store:
            end = time.monotonic() + 20
            while not store.reads["redis"]:
                await store.get(VIEW.name, names[:1])
                if time.monotonic() > end:
                    raise BenchmarkError("Redis is not read")
                await asyncio.sleep(0.01)
            asked = [f"repository {key}" for key in keys.tolist()]
            store.reads.clear()
            due, sent, cpu, passed = await _open_loop(store, asked, rate, seconds)
            share = store.reads["cache"] / store.reads.total()
            fromwhere = ", ".join(f"{where} {number:,}" for where, number in sorted(store.reads.items()))
            print(f"{title}: {len(due) / passed:,.0f}/s, {cpu:.0%} of a core, hits {share:.1%} ({fromwhere})")
            for what, latencies in (("from due", due), ("from sent", sent)):
                p50, p90, p99 = np.percentile(latencies, (50, 90, 99)) * 1e3
                print(f"  {what}: p50 {p50:.3f} p90 {p90:.3f} p99 {p99:.3f} ms; load average {os.getloadavg()[0]:.1f}")
            if not cache_bytes:
                await _rows(store, names)


async def _rows(store: FeatureStore, names: list[str]) -> None:
    """Read more and more rows at a time, one read after the other."""
    rng = np.random.default_rng(1)
    for rows in ROWS:
        took, cpu = [], time.process_time()
        for _ in range(READS):
            asked = [names[key] for key in rng.integers(0, ENTITIES, rows).tolist()]
            begun = time.perf_counter()
            await store.get(VIEW.name, asked)
            took.append(time.perf_counter() - begun)
        p50, p99 = np.percentile(took, (50, 99)) * 1e3
        each = 1e6 * (time.process_time() - cpu) / READS / rows
        print(f"  {rows} rows a read: p50 {p50:.2f} p99 {p99:.2f} ms; {each:.0f} microseconds of processor time a row")


def _zipf() -> npt.NDArray[np.float64]:
    weights = np.arange(1, ENTITIES + 1) ** -ZIPF
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


async def _open_loop(
    store: FeatureStore, asked: list[str], rate: int, seconds: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float, float]:
    from_due: list[float] = []
    from_sent: list[float] = []
    waiting: set[asyncio.Task[None]] = set()
    gc.collect()
    gc.freeze()  # as a server does once it is up: what is there already is not looked through again
    begun, cpu, sent = time.perf_counter(), time.process_time(), 0

    async def one(entity: str, due: float) -> None:
        now = time.perf_counter()
        await store.get(VIEW.name, [entity])
        done = time.perf_counter()
        from_due.append(done - due)
        from_sent.append(done - now)

    while (passed := time.perf_counter() - begun) < seconds:
        for number in range(sent, sent := int(passed * rate)):
            task = asyncio.create_task(one(asked[number], begun + number / rate))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*waiting)
    passed = time.perf_counter() - begun
    return np.array(from_due), np.array(from_sent), (time.process_time() - cpu) / passed, passed


def _join(database: Database, rows: int) -> None:
    database.upgrade()
    rng = np.random.default_rng(0)
    whose = rng.integers(0, max(rows // 10, 1), rows)
    start = time.time() - 100 * 86_400
    events = np.round((start + rng.uniform(0, 90 * 86_400, rows)) * 1e6).astype(np.int64)
    begun = time.perf_counter()
    for first in range(0, rows, PART):
        part = slice(first, first + PART)
        values = rng.normal(size=(len(events[part]), len(VIEW.features)))
        known = int(events[part].max())
        packed = pack(VIEW, values, events[part], known)
        packed_rows = [
            (VIEW.name, VIEW.schema, f"repository {owner}", event, known, one)
            for owner, event, one in zip(whose[part].tolist(), events[part].tolist(), packed, strict=True)
        ]
        with database.writing() as connection:
            database.add_rows(connection, FEATURE_ROWS, packed_rows)
    print(f"{rows:,} rows written in {time.perf_counter() - begun:.1f} s ({database.engine.dialect.name})")
    entities = [f"repository {owner}" for owner in rng.integers(0, max(rows // 10, 1), rows).tolist()]
    times = start + rng.uniform(0, 100 * 86_400, rows)
    begun = time.perf_counter()
    store = FeatureStore(database, dict(VIEWS))
    found = store.get_historical_features(VIEW.name, entities, times, as_known_at=time.time())
    share = float((~np.isnan(found.values).all(axis=1)).mean())
    print(f"as-of join of {rows:,} questions: {time.perf_counter() - begun:.1f} s, {share:.1%} of them answered")


if __name__ == "__main__":
    sys.exit(main())

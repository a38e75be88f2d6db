"""Measure what a shadow costs users: their p95 at half of the server's capacity, without and with one.

    python -m benchmarks.shadow                                    # the newest archive of the store
    python -m benchmarks.shadow --archive archives/store/signflow-1.0.mar --repeats 5

The shadow is the same model under another version; every input is kept for it. Capacity is what 16 connections get.
Then clients send half of that at random moments, whether or not earlier requests were answered: in turns without a
shadow and with one. Prints both p95, what the shadow answered, and the ratio that is to be at most 1.1.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from archives.archive import open_archive
from archives.contract import canonical_json
from archives.store import newest
from benchmarks.host import describe_machine
from benchmarks.load_generator import measure_serving, request
from demo.simulated_clients import Clients, Question
from marina.database.connection import Database
from marina.database.tables import REPLICAS, SHADOW_PAIRS
from marina.releases.declarations import Declared, read_archive
from marina.rollout import operator_commands, rollouts
from marina.rollout.policy.schema import read_policy
from marina.serving.example_request import example
from marina.serving.stub_archive import build_variant
from marina.serving.temporary_server import Server, running
from marina.settings import read_settings

BAR = 1.1
CONNECTIONS = 16
TIMEOUT_S = 120.0
SETTLE_S = 3.0


def copy_as_version(archive: Path, version: str, folder: Path) -> Path:
    """Copy an archive as another version of the same model."""
    opened = open_archive(archive)
    manifest, contract = opened.json("MAR-INF/MANIFEST.json"), opened.json("contract.json")
    manifest["model"]["modelVersion"] = contract["version"] = version
    changes = {"MAR-INF/MANIFEST.json": canonical_json(manifest), "contract.json": canonical_json(contract)}
    return build_variant(archive, folder, changes)


def p95_ms(server: Server, model: str, body: bytes, per_s: float, seconds: float, seed: int) -> tuple[float, int]:
    """Return the p95 of clients at a rate, in milliseconds, and how many failed; their first seconds are left out."""
    clients = Clients(server.url, model, [Question(body, ())], per_s, seed=seed)
    clients.start()
    time.sleep(SETTLE_S)
    since = time.time()
    time.sleep(seconds)
    clients.stop()
    times = [one.ms for one in clients.seen if one.sent >= since]
    return float(np.percentile(times, 95)), len(clients.failures(since))


def set_shadow(database: Database, candidate: Declared, on: bool) -> None:
    """Start the shadow and wait until it answers, or stop it and wait until it is gone."""
    if on:
        with database.writing() as connection:
            rollouts.start(connection, candidate, read_policy(), "benchmark", time.time(), shadow=True, input_share=1.0)
    else:
        operator_commands.abort(database, candidate.model, "benchmark", "its turn is over", time.time())
    mine = sa.select(REPLICAS.c.state).where(REPLICAS.c.version == candidate.version)
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with database.reading() as connection:
            states = connection.execute(mine).scalars().all()
        if states == (["ready"] if on else []):
            return
        time.sleep(0.2)
    raise SystemExit(f"the shadow is not {'ready' if on else 'gone'} after {TIMEOUT_S:g} s")


def answered(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(SHADOW_PAIRS)).scalar_one())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, metavar="FILE", help="whose model (default: the newest of the store)")
    parser.add_argument("--repeats", type=int, default=3, help="of each, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="length of each (default: %(default)s)")
    options = parser.parse_args()
    store = read_settings().archive_store
    archive = options.archive or next((one.path for one in newest(store)), None)
    body = example(archive) if archive else None
    if archive is None or body is None:
        print(f"There is no archive with an example in {store}: build one (make archive).")
        return 1
    with tempfile.TemporaryDirectory(prefix="marina-shadow-") as folder, running([archive]) as server:
        candidate = read_archive(copy_as_version(archive, "999.0", Path(folder)))
        database = Database(f"sqlite:///{server.state_dir / 'marina.db'}")
        posted = [request(f"/predictions/{candidate.model}", body)]
        measure_serving("warm-up", server.url, posted, CONNECTIONS, options.seconds / 2)
        capacity = measure_serving("capacity", server.url, posted, CONNECTIONS, options.seconds / 2).per_second
        print(f"{candidate.model}, {capacity:.0f} requests/s at most, on {describe_machine()}", flush=True)
        head = f"p95 ms at {capacity / 2:.0f}/s"
        print(f"{head:>20} {'without':>9} {'with':>9} {'ratio':>7} {'shadow/s':>9} {'failed':>7}")
        ratios = []
        for turn in range(options.repeats):
            without, failed = p95_ms(server, candidate.model, body, capacity / 2, options.seconds, turn)
            set_shadow(database, candidate, on=True)
            before, start = answered(database), time.monotonic()
            shadowed, failed_beside = p95_ms(server, candidate.model, body, capacity / 2, options.seconds, turn)
            rate = (answered(database) - before) / (time.monotonic() - start)
            set_shadow(database, candidate, on=False)
            ratios.append(shadowed / without)
            failed += failed_beside
            print(f"{turn + 1:20} {without:9.2f} {shadowed:9.2f} {ratios[-1]:7.2f} {rate:9.0f} {failed:7}", flush=True)
        database.close()
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.2f}, to be at most {BAR}")
    return int(ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())

"""Throw labels at a server, and look at what that costs the rest of it.

    python -m benchmarks.labels
    python -m benchmarks.labels --labels 500000 --clients 16 --archive archives/store/code_risk-1.0.mar

Clients post labels of requests that no one answered, a thousand at once and as fast as they are answered, whatever the
answer is. Beside them one connection asks for predictions, before and meanwhile, and the database is looked at: how old
a supervisor's report becomes (it writes one every 2 s at least), how many labels are kept, how many bytes that takes.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from archives.errors import MarinaError
from archives.store import stored
from benchmarks.host import describe_machine
from benchmarks.load_generator import Result, measure_serving, request
from benchmarks.log import prediction
from marina.database.connection import Database
from marina.database.tables import REPLICAS
from marina.events.labels import MOST_EARLY
from marina.processes.console import show
from marina.rollout.replica_sync import REPORT_S
from marina.serving import temporary_server
from marina.serving.stub_archive import build_stub

AT_ONCE = 1000
JSON = {"Content-Type": "application/json"}
LATE_S = 2.0
"""A report may be that much older than it is at the longest where nothing disturbs."""


@dataclass(frozen=True)
class Flood:
    """Outcomes of labels that were thrown at a server, and of the rest of it.

    Attributes
    ----------
    alone, beside
        Predictions of one connection, before and meanwhile.
    outcomes
        Labels by outcome, those of a refused post as ``429``.
    report_s
        The largest age of a report.
    bytes_kept
        By how much the database's files grew.
    """

    alone: Result
    beside: Result
    outcomes: Counter[str]
    report_s: float
    bytes_kept: int


def flood(server: temporary_server.Server, sent: bytes, labels: int, clients: int, seconds: float) -> Flood:
    """Measure predictions alone, then beside labels that come for as long, at least that many of them."""
    database = Database(f"sqlite:///{server.state_dir / 'marina.db'}")
    outcomes: Counter[str] = Counter()
    over, ages = threading.Event(), [0.0]
    posts = [
        json.dumps({"labels": [{"request_id": uuid.uuid4().hex, "label": "cat"} for _ in range(AT_ONCE)]})
        for _ in range(labels // AT_ONCE)
    ]
    left = itertools.cycle(posts)

    def post() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not over.is_set() or outcomes.total() < labels:
                answer = client.post("/feedback", content=next(left), headers=JSON)
                outcomes.update(answer.json().get("counts") or {f"{answer.status_code}": AT_ONCE})

    def watch() -> None:
        newest = sa.select(sa.func.max(REPLICAS.c.seen_at))
        while not over.wait(0.05):
            with database.reading() as connection:
                ages.append(time.time() - connection.execute(newest).scalar_one())

    measure_serving("warm-up", server.url, [sent], 1, 1)
    alone = measure_serving("alone", server.url, [sent], 1, seconds)
    while httpx.post(f"{server.url}/feedback", content=posts[0], headers=JSON).status_code == 503:
        time.sleep(0.1)  # the process that takes labels is still starting
    before = _bytes(server)
    threads = [threading.Thread(target=one) for one in [post] * clients + [watch]]
    for thread in threads:
        thread.start()
    beside = measure_serving("beside labels", server.url, [sent], 1, seconds)
    over.set()
    for thread in threads:
        thread.join()
    database.close()
    return Flood(alone, beside, outcomes, max(ages), _bytes(server) - before)


def _bytes(server: temporary_server.Server) -> int:
    return sum(path.stat().st_size for path in server.state_dir.glob("marina.db*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=50_000, help="how many (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="that post at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="of predictions, each time (default: %(default)s)")
    parser.add_argument("--archive", type=Path, help="whose example is sent (default: a model that does nothing)")
    options = parser.parse_args()
    print(f"{options.labels:,} labels of {options.clients} clients, on {describe_machine()}", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="marina-labels-") as folder:
            archive = options.archive or build_stub(Path(folder))
            sent = prediction(archive) if options.archive else request(f"/predictions/{stored(archive).model}", b"{}")
            with temporary_server.running([archive]) as server:
                seen = flood(server, sent, options.labels, options.clients, options.seconds)
    except (MarinaError, OSError) as error:
        show(error, sys.stderr)
        return 1
    for one in (seen.alone, seen.beside):
        print(f"predictions {one.name:>13}: p50 {one.p50:6.2f}, p99 {one.p99:7.2f} ms, {one.errors} errors")
    print(f"the oldest report was {seen.report_s:.1f} s old, {REPORT_S:g} where nothing disturbs")
    print(f"labels: {', '.join(f'{count:,} {outcome}' for outcome, count in sorted(seen.outcomes.items()))}")
    print(f"the database grew by {seen.bytes_kept / 2**20:.1f} MiB")
    on_time = seen.report_s < REPORT_S + LATE_S
    bounded = seen.outcomes["early"] <= MOST_EARLY
    return 0 if on_time and bounded and not seen.beside.errors else 1


if __name__ == "__main__":
    sys.exit(main())

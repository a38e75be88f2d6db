"""Measure what an answer costs the collector: where ids begin with the time or are random, and beside a rollout.

    python -m benchmarks.collector
    python -m benchmarks.collector --answers 600000

Answers are spooled as a worker does, without inputs, each with the gateway's line, and taken over into an SQLite
database that starts empty. Prints microseconds of processor time per answer for each tenth of them, so that growth
shows. Beside an open rollout each client is counted too: of 400, of 20,000, and each request of another one.
"""

import argparse
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path

import orjson
import sqlalchemy as sa

from benchmarks.host import describe_machine
from handlers.spool import Answered, Sampling, Spool
from marina.database.connection import Database
from marina.database.tables import ROLLOUTS
from marina.events.collector import Collector

PARTS = 10
MODEL = "code_risk"


def answered(request_id: str, session: str) -> Answered:
    """Return an answer of about 300 bytes."""
    predictions = {"label": "risky", "probability": 0.734, "threshold": 0.31, "features_missing": ["age_days", "churn"]}
    said = {"model": MODEL, "version": "1.0", "request_id": request_id, "predictions": predictions, "serving_ms": 0.812}
    return Answered(request_id, {"x-picked": "1", "x-session-id": session}, b"", False, orjson.dumps(said))


def gateway_line(request_id: str, session: str) -> bytes:
    """Return what the gateway writes about an answer (the template's ``log_format prediction``)."""
    line = {
        "time": "2026-11-21T14:00:00+00:00", "id": request_id, "msec": round(time.time(), 3), "model": MODEL,
        "version": "1.0", "picked": "1", "status": 200, "seconds": 0.002, "served": "0.002", "attempts": 1,
        "upstream": "200", "bytes": 900, "method": "POST", "path": f"/predictions/{MODEL}", "session": session,
        "client": "127.0.0.1",
    }  # fmt: skip
    return orjson.dumps(line) + b"\n"


def roll_out(database: Database) -> None:
    """Open a rollout from version 1.0, whose canary is watched."""
    policy = '{"gates": {"latency": {"margin_ms": 50}}}'
    row = {"model": MODEL, "stable": "1.0", "canary": "2.0", "phase": "watching", "step": 0, "paused": False}
    row |= {"policy": policy, "stable_p95_ms": 5.0, "started_by": "", "note": "", "started_at": 0.0}
    with database.writing() as connection:
        connection.execute(sa.insert(ROLLOUTS), row | {"watched_since": 0.0, "phase_since": 0.0})


def measure(answers: int, time_first: bool = True, sessions: int | None = None) -> list[float]:
    """Return the cost of each tenth of that many answers, in microseconds of processor time per answer.

    Parameters
    ----------
    answers
        How many.
    time_first
        Whether their ids begin with the time.
    sessions
        How many clients there are beside an open rollout, 0: none is like another; None: no rollout, no sessions.
    """
    costs = []
    with tempfile.TemporaryDirectory(prefix="marina-collector-") as folder:
        spool_dir, log_dir = Path(folder) / "spool", Path(folder) / "logs"
        spool_dir.mkdir()
        log_dir.mkdir()
        database = Database(f"sqlite:///{folder}/marina.db")
        database.upgrade()
        if sessions is not None:
            roll_out(database)
        spool = Spool(spool_dir, MODEL, "1.0", Sampling(), 1 << 40)
        collector = Collector(database, "here", spool_dir, log_dir)
        for _ in range(PARTS):
            with (log_dir / "access.jsonl").open("ab") as log:
                for _ in range(answers // PARTS):
                    stamp = f"{time.time():.3f}-" if time_first else ""  # as the gateway makes them
                    request_id = stamp + uuid.uuid4().hex
                    session = request_id if sessions == 0 else str(random.randrange(sessions)) if sessions else ""
                    spool.keep([answered(request_id, session)])
                    log.write(gateway_line(request_id, session))
            start = time.process_time()
            while collector.step():
                pass
            costs.append((time.process_time() - start) / (answers // PARTS) * 1e6)
        database.close()
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=200_000, help="of each kind (default: %(default)s)")
    options = parser.parse_args()
    if options.answers < PARTS:
        parser.error(f"--answers: at least {PARTS}")
    print(f"{options.answers:,} answers, on {describe_machine()}; µs per answer, by tenths", flush=True)
    for name, how in (
        ("time first", {}),
        ("random", {"time_first": False}),
        ("400 clients", {"sessions": 400}),
        ("20,000", {"sessions": 20_000}),
        ("all unlike", {"sessions": 0}),
    ):
        costs = measure(options.answers, **how)
        print(f"{name:>11} {' '.join(f'{cost:5.1f}' for cost in costs)}   mean {sum(costs) / PARTS:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

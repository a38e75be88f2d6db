"""Measure what an answer costs the collector, where ids begin with the time and where they are random.

    python scripts/benchmark_collector.py
    python scripts/benchmark_collector.py --answers 600000

Answers are spooled as a worker does, without inputs, each with the gateway's line, and taken over into an SQLite
database that starts empty. Prints microseconds of processor time per answer for each tenth of them, so that growth
shows.
"""

import argparse
import sys
import tempfile
import time
import uuid
from pathlib import Path

import orjson

from events.collector import Collector
from events.database import Database
from handlers.spool import Answered, Sampling, Spool
from rollout.host import describe_machine

PARTS = 10
MODEL = "code_risk"


def answered(request_id: str) -> Answered:
    """Return an answer of about 300 bytes."""
    predictions = {"label": "risky", "probability": 0.734, "threshold": 0.31, "features_missing": ["age_days", "churn"]}
    said = {"model": MODEL, "version": "1.0", "request_id": request_id, "predictions": predictions, "serving_ms": 0.812}
    return Answered(request_id, {"x-picked": "1"}, b"", False, orjson.dumps(said))


def gateway_line(request_id: str) -> bytes:
    """Return what the gateway writes about an answer (the template's ``log_format prediction``)."""
    line = {
        "time": "2026-11-21T14:00:00+00:00", "id": request_id, "msec": round(time.time(), 3), "model": MODEL,
        "version": "1.0", "picked": "1", "status": 200, "seconds": 0.002, "attempts": 1, "upstream": "200",
        "bytes": 900, "method": "POST", "path": f"/predictions/{MODEL}", "client": "127.0.0.1",
    }  # fmt: skip
    return orjson.dumps(line) + b"\n"


def measure(answers: int, time_first: bool) -> list[float]:
    """Return the cost of each tenth of so many answers, in microseconds of processor time per answer."""
    costs = []
    with tempfile.TemporaryDirectory(prefix="marina-collector-") as folder:
        spool_dir, log_dir = Path(folder) / "spool", Path(folder) / "logs"
        spool_dir.mkdir()
        log_dir.mkdir()
        database = Database(f"sqlite:///{folder}/marina.db")
        database.upgrade()
        spool = Spool(spool_dir, MODEL, "1.0", Sampling(), 1 << 40)
        collector = Collector(database, "here", spool_dir, log_dir)
        for _ in range(PARTS):
            with (log_dir / "access.jsonl").open("ab") as log:
                for _ in range(answers // PARTS):
                    stamp = f"{time.time():.3f}-" if time_first else ""  # as the gateway makes them
                    request_id = stamp + uuid.uuid4().hex
                    spool.keep([answered(request_id)])
                    log.write(gateway_line(request_id))
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
    for name, time_first in (("time first", True), ("random", False)):
        costs = measure(options.answers, time_first)
        print(f"{name:>11} {' '.join(f'{cost:5.1f}' for cost in costs)}   mean {sum(costs) / PARTS:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure the way from a verdict to the route: how long a bad canary is still asked once the judge has said so.

    python -m benchmarks.retreat
    python -m benchmarks.retreat --runs 3 --labels 1200

The server, the clients and the failing version are those of `make demo`; that version is released again and again,
while that many labels are reported per second. For each run: seconds from the verdict to the last request that the
canary got. The bar: at most 2 s in each run, and 0.5 s in the middle.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time

from benchmarks.host import describe_machine
from demo import versions
from demo.__main__ import LIMIT_S, POLICY, QUIET_S, questions
from demo.scenario import Rehearsal, RehearsalError
from demo.simulated_clients import Clients
from marina.database.connection import Database
from marina.processes.console import show
from marina.serving.temporary_server import running
from marina.settings import read_settings
from training.catalog.recipe import MODEL

INSTANCES = 10
MOST_S = 2.0
MEDIAN_S = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="releases (default: %(default)s)")
    parser.add_argument("--labels", type=float, default=2000.0, help="per second (default: %(default)g)")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server of yours learns nothing of this
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{options.labels:,.0f} labels/s, on {describe_machine()}", flush=True)
    try:
        seen = measure(options.runs, options.labels)
    except KeyboardInterrupt:
        return 130
    except RehearsalError as error:
        show(error, sys.stderr)
        return 1
    print(f"median {statistics.median(seen):.2f} s, longest {max(seen):.2f} s; the bar is {MEDIAN_S} and {MOST_S:g} s")
    return 0 if max(seen) <= MOST_S and statistics.median(seen) <= MEDIAN_S else 1


def measure(runs: int, labels: float) -> list[float]:
    """Release the failing version so often; print and return how long it was asked after each verdict, in seconds."""
    with tempfile.TemporaryDirectory(prefix="marina-retreat-", ignore_cleanup_errors=True) as folder:
        own = {
            "state_dir": f"{folder}/state", "archive_store": f"{folder}/store",
            "database_url": f"sqlite:///{folder}/state/marina.db", "inference_tokens": "[]",
        }  # fmt: skip
        os.environ |= {f"MARINA_{name.upper()}": value for name, value in own.items()}
        settings = read_settings()
        first, bad = versions.build_all(
            settings.state_dir, settings.archive_store, (versions.VERSIONS[0], versions.VERSIONS[-1])
        )
        with running([first.built.path], own) as server:
            clients = Clients(server.url, MODEL, questions(INSTANCES), labels / INSTANCES)
            rehearsal = Rehearsal(Database(settings.database), clients, lambda _: None, lambda _: None)
            clients.start()
            try:
                time.sleep(QUIET_S)
                return [one_run(rehearsal, clients, bad.version.number, number + 1) for number in range(runs)]
            finally:
                clients.stop()
                rehearsal.database.close()


def one_run(rehearsal: Rehearsal, clients: Clients, version: str, number: int) -> float:
    before, began = sum(clients.labels.values()), time.monotonic()
    release = rehearsal.release(version, POLICY, LIMIT_S)
    per_s = (sum(clients.labels.values()) - before) / (time.monotonic() - began)
    print(
        f"run {number:2}: {release.rollout.phase} by {', '.join(release.gates) or 'nothing'}; asked for "
        f"{release.obeyed_s:.2f} s after the verdict; {per_s:,.0f} labels/s",
        flush=True,
    )
    return release.obeyed_s


if __name__ == "__main__":
    sys.exit(main())

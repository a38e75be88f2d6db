"""Measure what is left of a model's capacity when far more is asked than it can answer.

A model that takes 100 ms for each request, one at a time, so 10 a second at most, is asked by ever more clients. Each
sends its next request as soon as the last is answered or refused. Printed are good answers a second, and how quickly
the others are refused.

Examples
--------
    python -m benchmarks.overload
    python -m benchmarks.overload --clients 40 500 --seconds 60 --pause 1
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.host import describe_machine
from benchmarks.load_generator import request
from marina.serving import temporary_server
from marina.serving.stub_archive import build_stub
from marina.settings import read_settings

SLOW = """
import time


class Slow:
    def initialize(self, context):
        self.pass_s = float(context.model_yaml_config["handler"]["pass_s"])

    def handle(self, data, context):
        time.sleep(self.pass_s)
        return [b"{}"] * len(data)
"""
REFUSALS = (429, 503)


@dataclass
class Seen:
    """What the clients of one run saw: latencies in seconds by status, and refusals without Retry-After."""

    seconds: float = 0.0
    latencies: dict[int, list[float]] = field(default_factory=dict)
    without_hint: int = 0

    def count(self, *statuses: int) -> int:
        """How many answers of these statuses there were."""
        return sum(len(self.latencies.get(status, [])) for status in statuses)

    @property
    def good_per_s(self) -> float:
        """Good answers a second."""
        return self.count(200) / self.seconds

    @property
    def failed(self) -> int:
        """Answers that were neither good nor a refusal."""
        return sum(map(len, self.latencies.values())) - self.count(200, *REFUSALS)

    def percentile(self, percent: float, *statuses: int) -> float:
        """Latency in seconds of answers of these statuses; not a number where there were none."""
        found = [latency for status in statuses for latency in self.latencies.get(status, [])]
        return float(np.percentile(found, percent)) if found else float("nan")


async def client(url: str, sent: bytes, until: float, pause_s: float, seen: Seen) -> None:
    """Ask again and again, until it is time to go."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while (start := time.perf_counter()) < until:
        writer.write(sent)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        status = int(head[9:12])
        seen.latencies.setdefault(status, []).append(time.perf_counter() - start)
        if status in REFUSALS:
            seen.without_hint += b"\r\nretry-after:" not in head
            await asyncio.sleep(pause_s)
    writer.close()


async def clients(url: str, sent: bytes, count: int, seconds: float, pause_s: float) -> Seen:
    """Let that many clients send requests for that long; who has waited longer at the end is still answered."""
    seen = Seen()
    start = time.perf_counter()
    await asyncio.gather(*(client(url, sent, start + seconds, pause_s, seen) for _ in range(count)))
    seen.seconds = time.perf_counter() - start
    return seen


def measure(
    counts: Sequence[int], seconds: float, pass_s: float = 0.1, pause_s: float = 0.0, **overrides: str | int | float
) -> list[Seen]:
    """Serve the slow model, and let ever more clients ask it.

    Parameters
    ----------
    counts
        How many clients, run by run.
    seconds
        How long each run asks.
    pass_s
        How long the model takes for each request.
    pause_s
        How long a client that was refused waits before it asks again.
    **overrides
        Settings of the server.
    """
    sent = request("/predictions/slow", b"{}")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        config = {"batchSize": 1, "pass_s": pass_s}
        archive = build_stub(Path(folder), "slow", code=SLOW, config=config)
        with temporary_server.running([archive], overrides) as server:
            print(
                f"{'clients':>8}{'good/s':>8}{'refused/s':>11}{'failed':>8}"
                f"{'answers: p50, p95 s':>21}{'refusals: p50, p99 ms':>23}{'no Retry-After':>16}"
            )
            for count in counts:
                seen = asyncio.run(clients(server.url, sent, count, seconds, pause_s))
                refused = seen.count(*REFUSALS)
                print(
                    f"{count:8d}{seen.good_per_s:8.2f}{refused / seen.seconds:11.1f}{seen.failed:8d}"
                    f"{seen.percentile(50, 200):13.2f}{seen.percentile(95, 200):8.2f}"
                    f"{1e3 * seen.percentile(50, *REFUSALS):15.1f}{1e3 * seen.percentile(99, *REFUSALS):8.1f}"
                    f"{seen.without_hint:16d}",
                    flush=True,
                )
                found.append(seen)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[20, 40, 150, 500], help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=30, help="length of each run (default: %(default)s)")
    parser.add_argument("--pass-s", type=float, default=0.1, help="what a request takes (default: %(default)s s)")
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds before a refused client retries (default: %(default)s)"
    )
    options = parser.parse_args()
    print(describe_machine())
    limit_s = read_settings().request_timeout_s
    found = measure(options.clients, options.seconds, options.pass_s, options.pause, request_timeout_s=limit_s)
    return int(any(seen.good_per_s < 0.9 / options.pass_s or seen.failed for seen in found))


if __name__ == "__main__":
    sys.exit(main())

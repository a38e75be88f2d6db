"""Measure what the prediction log costs: the same server with the log on and off.

Two servers run, one that logs every answer (MARINA_LOG_SHARE=1) and one that logs none (0), and take turns: throughput
over many connections, then the latency of one. Before each turn the log's collector catches up, so that it does not
work in the other's turn; how long that took stands in the table. The gateway's counts are taken over in both.

Examples
--------
    python scripts/benchmark_log.py
    python scripts/benchmark_log.py --archive archives/store/signflow-1.0.mar --repeats 10 --seconds 10
"""

import argparse
import statistics
import sys
from pathlib import Path

from archives.contract import ArchiveError
from archives.store import stored
from rollout import trial
from rollout.host import describe_machine
from rollout.load import Result, catch_up, request, served
from rollout.sample import example
from scripts.benchmark_throughput import chosen_archive
from settings import Settings

MOST_LOST = 0.05
MOST_ADDED_MS = 0.2


def prediction(archive: Path) -> bytes:
    """Return the archive's own example as an HTTP request."""
    body = example(archive)
    if body is None:
        raise ArchiveError(f"{archive.name} carries no example to send")
    return request(f"/predictions/{stored(archive).model}", body)


def turn(server: trial.Server, sent: bytes, connections: int, seconds: float) -> tuple[Result, Result]:
    """Measure a server under load, then with one request at a time."""
    served("warm-up", server.url, [sent], connections, 1)
    loaded = served("loaded", server.url, [sent], connections, seconds)
    return loaded, served("alone", server.url, [sent], 1, seconds / 2)


def measure(archive: Path, options: argparse.Namespace) -> list[tuple[Result, Result]]:
    """Return throughput and latency, off and on alternating; print each pair."""
    sent = prediction(archive)
    turns: list[tuple[Result, Result]] = []
    with trial.running([archive], {"log_share": 0}) as off, trial.running([archive], {"log_share": 1}) as on:
        for server in (off, on):
            served("warm-up", server.url, [sent], options.connections, options.warm_up)
        caught_up = catch_up(on)
        print(
            f"{'':>4} {'off, req/s':>11} {'on, req/s':>11} {'off, p50 ms':>12} {'on, p50 ms':>12} {'caught up, s':>13}"
        )
        for repeat in range(options.repeats):
            order = (off, on) if repeat % 2 == 0 else (on, off)
            seen: dict[str, tuple[Result, Result]] = {}
            for server in order:
                seen[server.url] = turn(server, sent, options.connections, options.seconds)
                if server is on:
                    caught_up = catch_up(on)
            (off_loaded, off_alone), (on_loaded, on_alone) = seen[off.url], seen[on.url]
            turns += [(off_loaded, off_alone), (on_loaded, on_alone)]
            print(
                f"{repeat + 1:4d} {off_loaded.per_second:11.1f} {on_loaded.per_second:11.1f} {off_alone.p50:12.3f} "
                f"{on_alone.p50:12.3f} {caught_up:13.1f}",
                flush=True,
            )
    return turns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="archive to measure (default: the newest signflow in the store)")
    parser.add_argument("--connections", type=int, default=16, help="connections kept busy (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=8, help="turns of each server (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=20, help="seconds of load before them (default: %(default)s)")
    options = parser.parse_args()
    try:
        archive = chosen_archive(Settings(), options.archive)
        print(f"{archive.name}, its own example, on {describe_machine()}", flush=True)
        turns = measure(archive, options)
    except (ArchiveError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    lost = 1 - statistics.median(on[0].per_second / off[0].per_second for off, on in pairs)
    added = statistics.median(on[1].p50 - off[1].p50 for off, on in pairs)
    errors = sum(one.errors for pair in turns for one in pair)
    print(f"median of {len(pairs)} pairs: {lost:+.1%} throughput lost (at most {MOST_LOST:.0%} allowed),")
    print(f"p50 {added:+.3f} ms (at most {MOST_ADDED_MS:+.1f} allowed), {errors} errors")
    return 0 if lost <= MOST_LOST and added <= MOST_ADDED_MS and not errors else 1


if __name__ == "__main__":
    sys.exit(main())

"""Measure what the prediction log costs: the same server with the log on and off.

Two servers run, one that logs every answer (MARINA_LOG_SHARE=1) and one that logs none (0), and take turns: throughput
over many connections, then the latency of one. Before each turn the log's collector catches up, so that it does not
work in the other's turn; how long that took is in the table. The gateway's counts are taken over in both.

With ``--summaries`` both log every answer, one of them without what the archive's contract names of the inputs.

Examples
--------
    python -m benchmarks.log
    python -m benchmarks.log --archive archives/store/signflow-1.0.mar --repeats 10 --seconds 10
    python -m benchmarks.log --archive archives/store/code_risk-1.0.mar --summaries --connections 64
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from archives.archive import open_archive
from archives.contract import ArchiveError, write_contract
from archives.errors import MarinaError
from archives.store import stored
from benchmarks.host import describe_machine
from benchmarks.load_generator import Result, catch_up, cpu_seconds, measure_serving, request
from benchmarks.throughput import chosen_archive
from marina.processes.console import show
from marina.serving import temporary_server
from marina.serving.example_request import example
from marina.serving.stub_archive import build_variant
from marina.settings import read_settings

MOST_LOST = 0.05
MOST_LOST_BY_SUMMARIES = 0.03
MOST_ADDED_MS = 0.2


@dataclass(frozen=True)
class Turn:
    """What a server did under load and with one request at a time, and its processor time per loaded request."""

    loaded: Result
    alone: Result
    cpu_us: float


def prediction(archive: Path) -> bytes:
    """Return the archive's own example as an HTTP request."""
    return request(f"/predictions/{stored(archive).model}", example(archive))


def turn(server: temporary_server.Server, sent: bytes, model: str, connections: int, seconds: float) -> Turn:
    """Measure a server under load, then with one request at a time."""
    measure_serving("warm-up", server.url, [sent], connections, 1)
    before = sum(cpu_seconds(server, model).values())
    loaded = measure_serving("loaded", server.url, [sent], connections, seconds)
    catch_up(server)  # what the collector does for these requests is theirs
    spent = sum(cpu_seconds(server, model).values()) - before
    alone = measure_serving("alone", server.url, [sent], 1, seconds / 2)
    return Turn(loaded, alone, 1e6 * spent / max(1.0, loaded.per_second * seconds))


def without_summary(archive: Path, folder: Path) -> Path:
    """Copy an archive so that nothing of its inputs is logged.

    Raises
    ------
    ArchiveError
        If nothing is anyway.
    """
    contract = open_archive(archive).contract
    if not contract.summary:
        raise ArchiveError(f"{archive.name} names no summary: build it again, or name another (--archive)")
    return build_variant(archive, folder, {"contract.json": write_contract(replace(contract, summary=()))})


def measure(archive: Path, options: argparse.Namespace, without: Path) -> list[tuple[Turn, Turn]]:
    """Return what two servers did in turns, off and on; print each pair."""
    sent, model = prediction(archive), stored(archive).model
    pairs: list[tuple[Turn, Turn]] = []
    with (
        temporary_server.running([without], {"log_share": int(options.summaries)}) as off,
        temporary_server.running([archive], {"log_share": 1}) as on,
    ):
        for server in (off, on):
            measure_serving("warm-up", server.url, [sent], options.connections, options.warm_up)
            catch_up(server)
        print(
            f"{'':>4} {'off, req/s':>11} {'on, req/s':>11} {'off, p50 ms':>12} {'on, p50 ms':>12} "
            f"{'off, CPU µs':>12} {'on, CPU µs':>12} {'caught up, s':>13}"
        )
        for repeat in range(options.repeats):
            order = (off, on) if repeat % 2 == 0 else (on, off)
            seen: dict[str, Turn] = {}
            for server in order:
                seen[server.url] = turn(server, sent, model, options.connections, options.seconds)
                caught_up = catch_up(server)
            pairs.append((seen[off.url], seen[on.url]))
            one, other = pairs[-1]
            print(
                f"{repeat + 1:4d} {one.loaded.per_second:11.1f} {other.loaded.per_second:11.1f} {one.alone.p50:12.3f} "
                f"{other.alone.p50:12.3f} {one.cpu_us:12.1f} {other.cpu_us:12.1f} {caught_up:13.1f}",
                flush=True,
            )
    return pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="archive to measure (default: the newest signflow in the store)")
    parser.add_argument("--connections", type=int, default=16, help="connections kept busy (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=8, help="turns of each server (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=20, help="seconds of load before them (default: %(default)s)")
    parser.add_argument("--summaries", action="store_true", help="measure what the summaries of inputs cost, alone")
    options = parser.parse_args()
    try:
        archive = chosen_archive(read_settings(), options.archive)
        print(f"{archive.name}, its own example, on {describe_machine()}", flush=True)
        with tempfile.TemporaryDirectory(prefix="marina-log-") as folder:
            without = without_summary(archive, Path(folder)) if options.summaries else archive
            pairs = measure(archive, options, without)
    except (MarinaError, OSError) as error:
        show(error, sys.stderr)
        return 1
    most = MOST_LOST_BY_SUMMARIES if options.summaries else MOST_LOST
    lost = 1 - statistics.median(on.loaded.per_second / off.loaded.per_second for off, on in pairs)
    more = statistics.median(on.cpu_us / off.cpu_us for off, on in pairs) - 1
    added = statistics.median(on.alone.p50 - off.alone.p50 for off, on in pairs)
    errors = sum(one.loaded.errors + one.alone.errors for pair in pairs for one in pair)
    print(f"median of {len(pairs)} pairs: {lost:+.1%} throughput lost (at most {most:.0%} allowed),")
    print(f"{more:+.1%} processor time per request, all parts of the server together,")
    print(f"p50 {added:+.3f} ms (at most {MOST_ADDED_MS:+.1f} allowed), {errors} errors")
    return 0 if lost <= most and added <= MOST_ADDED_MS and not errors else 1


if __name__ == "__main__":
    sys.exit(main())

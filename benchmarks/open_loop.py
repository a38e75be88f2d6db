"""Measure the tail: latencies where requests come at fixed times, whatever the server does meanwhile.

    python -m benchmarks.open_loop --archive archives/store/code_risk-1.0.mar
    python -m benchmarks.open_loop --archive FILE --rate 5000 --share 1 0    # with the log and without, in turns
    python -m benchmarks.open_loop --archive FILE --rate 5000 --set java_heap=2g

Requests are due at the rate asked for, by default half of what the server can do, independently of each other; a
latency counts from when its request was due. How late the client itself was is listed too: where that is not small,
the latencies are the client's. Servers run side by side, one for each share of answers logged, and take turns; before
each turn the log's collector catches up. Prints what each part of the server spends, too.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.store import stored
from benchmarks.host import describe_machine
from benchmarks.load_generator import catch_up, cpu_seconds, measure_serving, request
from benchmarks.models import bodies
from benchmarks.open_load_generator import Seen, load
from marina.serving import temporary_server
from marina.settings import Settings

QUANTILES = (0.5, 0.95, 0.99, 0.999, 1.0)
CLOSED = 64
"""Connections that are kept busy to find what a server can do."""


def turn(
    server: temporary_server.Server, model: str, requests: Sequence[bytes], options: argparse.Namespace, rate: float
) -> Seen:
    """Measure one server once; print a line."""
    load(server.url, requests, rate, min(2.0, options.seconds), options.connections, options.processes)
    catch_up(server)
    before = cpu_seconds(server, model)
    seen = load(server.url, requests, rate, options.seconds, options.connections, options.processes)
    spent = {part: cost - before[part] for part, cost in cpu_seconds(server, model).items()}
    return show(seen, rate, spent)


def show(seen: Seen, rate: float, spent: dict[str, float]) -> Seen:
    quantiles = " ".join(f"{one:8.2f}" for one in seen.quantiles_ms(QUANTILES))
    lag50, lag99, most = np.nanquantile(seen.lags, [0.5, 0.99, 1.0]) * 1e3
    parts = ", ".join(f"{part} {1e6 * cost / len(seen.latencies):.0f}" for part, cost in spent.items())
    late = f"{lag50:8.2f} {lag99:7.2f} {most:7.2f}"
    print(f"{rate:8.0f} {quantiles} {late} {seen.errors + seen.lost:7d}   {parts}", flush=True)
    return seen


def settings_of(given: Sequence[str]) -> dict[str, str]:
    """Read ``name=value``, as in settings.example.env without the prefix.

    Raises
    ------
    ArchiveError
        If there is no such setting.
    """
    values = dict(one.split("=", 1) for one in given if "=" in one)
    if unknown := [one for one in given if one.partition("=")[0] not in Settings.model_fields or "=" not in one]:
        raise ArchiveError(f"--set {unknown[0]}: expected NAME=VALUE with a setting's name, see settings.example.env")
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="archive to measure")
    parser.add_argument("--rate", type=float, help="requests a second (default: half of what the server can do)")
    parser.add_argument("--share", type=float, nargs="+", default=[1.0], help="of answers logged (default: 1)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="further settings of the servers")
    parser.add_argument("--seconds", type=float, default=20, help="of each turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each server (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=20, help="seconds of load before (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=256, help="open at once (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="that send (default: %(default)s)")
    options = parser.parse_args()
    try:
        model = stored(options.archive).model
        requests = [request(f"/predictions/{model}", body) for body in bodies(options.archive)[0]]
        values = settings_of(options.set)
        print(f"{options.archive.name}, {len(requests)} different requests, on {describe_machine()}", flush=True)
        with contextlib.ExitStack() as running:
            servers = []
            for share in options.share:
                given = temporary_server.running([options.archive], {**values, "log_share": share})
                servers.append((share, running.enter_context(given)))
            rate = options.rate
            for share, server in servers:
                measure_serving("warm-up", server.url, requests, CLOSED, options.warm_up)
                most = measure_serving("most", server.url, requests, CLOSED, options.seconds / 2).per_second
                rate = most / 2 if rate is None else rate
                print(f"share {share:g}: {most:.0f} requests/s at {CLOSED} connections")
            names = " ".join(f"{name:>8}" for name in ("p50 ms", "p95", "p99", "p99.9", "max"))
            print(
                f"{'share':>5} {'rate':>8} {names} {'lag p50':>8} {'p99':>7} {'max':>7} {'failed':>7}   µs per request"
            )
            for repeat in range(options.repeats):
                for share, server in servers[:: 1 if repeat % 2 == 0 else -1]:
                    print(f"{share:5g} ", end="")
                    turn(server, model, requests, options, rate or 1.0)
    except (MarinaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

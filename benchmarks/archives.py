"""Measure what it costs to open, lint, sign and verify archives.

    python -m benchmarks.archives                            # the newest of each model in the store
    python -m benchmarks.archives FILE... --repeats 50

Medians, in milliseconds of one core. A start opens each declared copy (its hash is known, so it is not linted) and
verifies its signature; a release opens with the linter. Signed with a key made for the run; nothing is written.
"""

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from archives.archive import open_archive
from archives.contract import ArchiveError
from archives.keys import Keyring, own_key
from archives.signatures import sign, verify
from archives.store import newest
from benchmarks.host import describe_machine
from marina.processes.console import show
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.archives", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archives", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--repeats", type=int, default=20, help="of each (default: %(default)s)")
    options = parser.parse_args(argv)
    store = read_settings().archive_store
    paths = options.archives or [one.path for one in newest(store)]
    if not paths:
        print(f"There is no archive in {store}: build one (make archive), or name some.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="marina-benchmark-") as folder:
        key = own_key(Path(folder) / "key", Path(folder) / "keys")
    keyring = Keyring().with_key(key)
    print(f"{describe_machine()}\n{'archive':<32}{'MB':>7}{'open, lint':>12}{'open':>8}{'sign':>8}{'verify':>8}")
    try:
        for path in paths:
            archive = open_archive(path)
            signature = sign(archive, key)
            calls: list[Callable[[], object]] = [
                functools.partial(open_archive, path),
                functools.partial(open_archive, path, archive.sha256),
                functools.partial(sign, archive, key),
                functools.partial(verify, archive, signature, keyring),
            ]
            linted, opened, signed, verified = (milliseconds(call, options.repeats) for call in calls)
            size = f"{path.name:<32}{archive.size / 1e6:>7.2f}"
            print(f"{size}{linted:>12.1f}{opened:>8.2f}{signed:>8.2f}{verified:>8.2f}")
    except ArchiveError as error:
        show(error, sys.stderr)
        return 1
    return 0


def milliseconds(what: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        what()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())

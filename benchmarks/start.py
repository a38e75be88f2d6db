"""Measure how soon a server with every model of the store answers, and what memory it takes.

    python -m benchmarks.start                    # the newest archive of each model
    python -m benchmarks.start --store /tmp/store --repeats 5 --load-ms 5000

Each repeat is a server of its own, with a state folder that is new: the first start of a fresh machine whose archives
are built. Prints the seconds until the first model answers its own example through the gateway, and until every one
does, and the CPU time that each part took until then, which hardly depends on what else the machine does; then, after
some load on each model, the memory of each part (PSS: what is shared is counted once; in brackets what is private). The
last line is what one tabular model more costs: the same server without code_risk.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from archives.store import newest, stored
from benchmarks.host import describe_machine
from benchmarks.load_generator import measure_serving, request
from marina.serving import temporary_server
from marina.serving.example_request import example
from marina.serving.temporary_server import Server
from marina.settings import Settings

LIMIT_S = 300.0
CONNECTIONS = 8


@dataclass
class Part:
    """One part of a server: CPU seconds until all was started; memory in MiB, with its share of what is shared."""

    cpu_s: float = 0.0
    pss: float = 0.0
    private: float = 0.0


@dataclass
class Started:
    """One start: seconds until something, and until everything answered."""

    first_s: float = 0.0
    all_s: float = 0.0
    parts: dict[str, Part] = field(default_factory=lambda: defaultdict(Part))

    @property
    def memory(self) -> float:
        """Memory of all parts, MiB."""
        return sum(one.pss for one in self.parts.values())


def start(archives: Sequence[Path], load_ms: int) -> Started:
    """Start a server, wait for every model's answer, send it requests, and look at what it took."""
    bodies = {stored(one).model: example(one) or b"{}" for one in archives}
    found = Started()
    began = time.monotonic()
    with temporary_server.running(archives, {"java_heap": Settings().java_heap}, wait=False) as server:
        waiting = dict(bodies)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while waiting and time.monotonic() - began < LIMIT_S:
                for model in list(waiting):
                    if _answers(client, model, waiting[model]):
                        del waiting[model]
                        found.first_s = found.first_s or time.monotonic() - began
                time.sleep(0.05)
        if waiting:
            raise AssertionError(f"no answer from {', '.join(waiting)} in {LIMIT_S:g} s:\n{server.output.read_text()}")
        found.all_s = time.monotonic() - began
        server.wait()  # every worker of every model, not only the first
        for name, one in processes(server):
            times = one.cpu_times()
            found.parts[name].cpu_s += times.user + times.system
        for model, body in bodies.items():
            if load_ms:
                measure_serving(
                    "", server.url, [request(f"/predictions/{model}", body)], CONNECTIONS, seconds=load_ms / 1000
                )
        time.sleep(2)
        for name, one in processes(server):
            held = one.memory_full_info()
            found.parts[name].pss += held.pss / 2**20
            found.parts[name].private += held.uss / 2**20
    return found


def _answers(client: httpx.Client, model: str, body: bytes) -> bool:
    try:
        answer = client.post(f"/predictions/{model}", content=body, headers={"Content-Type": "application/json"})
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def processes(server: Server) -> Iterator[tuple[str, psutil.Process]]:
    """Yield a server's processes, each with the name of its part; a model's workers are a part."""
    top = psutil.Process(server.process.pid)
    yield "supervisor", top
    for name, pid in server.pids.items():
        if name != "supervisor":
            one = psutil.Process(pid)
            yield name, one
            for child in one.children(recursive=True):
                yield (_served_by(child) if name == "java" else name), child


def _served_by(worker: psutil.Process) -> str:
    """Name the model of a worker, which runs in the folder of its unpacked archive."""
    manifest = json.loads((Path(worker.cwd()) / "MAR-INF" / "MANIFEST.json").read_bytes())
    return f"worker of {manifest['model']['modelName']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="where the archives are (default: MARINA_ARCHIVE_STORE)")
    parser.add_argument("--repeats", type=int, default=3, help="starts (default: %(default)s)")
    parser.add_argument("--load-ms", type=int, default=1000, help="load on each model first (default: %(default)s)")
    options = parser.parse_args()
    archives = [one.path for one in newest(options.store or Settings().archive_store)]
    if not archives:
        print("There is no archive: build them (make archives), or name their folder (--store).")
        return 1
    print(f"{len(archives)} models on {describe_machine()}", flush=True)
    starts = []
    for _ in range(options.repeats):
        starts.append(one := start(archives, options.load_ms))
        print(f"first answer {one.first_s:.1f} s, all {one.all_s:.1f} s, memory {one.memory:.0f} MiB", flush=True)
    for name, part in sorted(starts[-1].parts.items(), key=lambda item: -item[1].pss):
        print(f"  {name:32} {part.cpu_s:5.1f} s of CPU, {part.pss:5.0f} MiB ({part.private:.0f})")
    whole = statistics.median(one.memory for one in starts)
    fewer = start([one for one in archives if stored(one).model != "code_risk"], options.load_ms).memory
    print(f"median {whole:.0f} MiB; without code_risk {fewer:.0f}: it costs {whole - fewer:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

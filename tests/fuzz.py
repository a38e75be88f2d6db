"""A hundred thousand odd requests against the real server: nothing that is sent may be its fault, or anybody else's.

    python -m tests.fuzz                                    # 100,000 requests against all models, by a new seed
    python -m tests.fuzz --requests 5000 --seed 7 --model code_risk
    python -m tests.fuzz --seed 7 --only 123                # send one again, and print what went over the wire

Requests are raw bytes: methods, paths, versions, headers, framings, types, encodings, and bodies near those that
models answer (`tests.grammar`). Number K of seed S is the same for ever. Good requests go to the same models meanwhile.
There must be no answer of 5xx but those of `MAY_FAIL`, no death of a worker, no good request that is answered otherwise
than alone, and no access line that a judge would hold against a version.
"""

import argparse
import contextlib
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.grammar import Grammar
from tests.handlers.every import MODELS, close, family, loaded, sweep
from tests.serving import Server, running

SETTINGS: dict[str, str | int | float] = {"body_timeout_s": 2, "hosts": '["a"]'}
THREADS = 8
ANSWER_S = 20.0

MAY_FAIL = {501, 505}
"""What HTTP itself calls a server's error: a transfer coding or a version that is not implemented."""

METHODS = ("POST",) * 12 + (
    "PUT",
    "PUT",
    "GET",
    "HEAD",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "CONNECT",
    "post",
    "PO ST",
    "",
    "M" * 300,
)
VERSIONS = ("HTTP/1.1",) * 20 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "http/1.1", "", "HTTP/1.1 ")
PATHS = (
    *("/", "//", "/ping", "/feedback", "/metrics", "/models", "/api-description", "/errors/400", "*", "", "?"),
    *("/predictions", "/predictions/", "/predictions/none"),
    *("/predictions//", "/workflows", "/wfpredict/a", "/invocations"),
    *("/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"),
    *("/predictions/..%2f..%2fparts", "/\\..\\..", "/%00", "/%ff", "/%zz"),
    *("http://127.0.0.1/ping", "http://[::1", "/" + "a" * 9000, "/" + "../" * 500, "/ping#x", "/ping?" + "a=1&" * 500),
)  # fmt: skip
HEADERS = (
    *("X-Request-Id: abc", "X-Request-Id: " + "x" * 200),
    *('X-Request-Id: "}{', "X-Session-Id: s1", "X-Session-Id: \xff\xfe"),
    *("X-User-Id: u", "X-Picked: 1", "X-Shadow: 1", "explain: True"),
    *("X-Received: 1", "X-Received: nan", "X-Sent-Type: none"),
    *("X-Top-K: 3", "X-Top-K: 99999999999999999999", "X-TTA: true"),
    *("X-TTA: maybe", "traceparent: 00-0-0-01", "Accept: */*"),
    *("Authorization: Bearer x", "Authorization: " + "y" * 4000, "Origin: http://evil", "Cookie: " + "c=1; " * 300),
    *("Content-Encoding: gzip", "Content-Encoding: identity"),
    *("Upgrade: h2c", "Connection: close", "Connection: upgrade"),
    *("Expect: 100-continue", "Expect: 200-ok", "Range: bytes=0-1"),
    *("If-Match: *", "X: \x00", "No colon here", " folded: 1"),
    *("Bad\x01Name: 1", "X-Long: " + "z" * 9000, "Host: other"),
    *("Keep-Alive: 5", "Transfer-Encoding: gzip", "TE: trailers"),
)  # fmt: skip
TYPES = ("application/json",) * 14 + (
    *("application/x-npy", "application/json; charset=utf-8"),
    *("APPLICATION/JSON", "text/plain", "", "application/x-www-form-urlencoded"),
    *("multipart/form-data; boundary=b", "application/octet-stream", "application/json\x00", "\xe9", "application/xml"),
)  # fmt: skip


@dataclass(frozen=True)
class Wire:
    """One request as bytes, and whether it is so malformed that a closed connection is an answer, too."""

    data: bytes
    malformed: bool


def request(chance: random.Random, model: str, good: Sequence[dict[str, Any]]) -> Wire:
    """Return one odd request to a model."""
    near = Grammar(chance, good).request()
    usual = chance.random() < 0.7  # then only the body is odd
    body = near.body
    if usual:
        lines = [f"POST /{chance.choice(('predictions', 'predictions', 'explanations'))}/{model} HTTP/1.1", "Host: a"]
        headers = {name: value for name, value in near.headers.items() if name != "explain"}
        lines += [f"{name}: {value}" for name, value in headers.items() if value.isprintable() and len(value) < 4000]
        return Wire(_head([*lines, f"Content-Length: {len(body)}"]) + body, False)
    verb = chance.choice(("predictions", "predictions", "explanations", "Predictions"))
    version = chance.choice(
        ("", "", "/1.0", "/2.0", "/9.9", "/" + "1" * 300, "/1.0/", "/1.0/a/b", "?top_k=3", "/%31.0", ";x")
    )
    path = chance.choice((*([f"/{verb}/{model}{version}"] * len(PATHS)), *PATHS))
    first = f"{chance.choice(METHODS)} {path} {chance.choice(VERSIONS)}"
    lines = [first, *chance.choice((["Host: a"], ["Host: a"], ["Host: a"], [], ["Host: a", "Host: b"], ["Host: "]))]
    lines += chance.sample(HEADERS, chance.choice((0, 0, 1, 1, 2, 4)))
    if kind := chance.choice(TYPES):
        lines.append(f"Content-Type: {kind}")
    if chance.random() < 0.1:
        body = b"&".join([b"a=1"] * chance.randrange(3000))
    lines, body = _framed(chance, lines, body)
    data = _head(lines) + body
    if chance.random() < 0.05:
        data = data[: chance.randrange(len(data) + 1)]
    return Wire(data, True)


def _framed(chance: random.Random, lines: list[str], body: bytes) -> tuple[list[str], bytes]:
    """Frame a body: rightly for the most part, or in one of the ways that smuggle requests past others."""
    size = len(body)
    half = size // 2
    pieces = [body[:half], body[half:]] if half else [body]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    ways: tuple[tuple[list[str], bytes], ...] = (
        *([([f"Content-Length: {size}"], body)] * 8),
        *([(["Transfer-Encoding: chunked"], chunked)] * 3),
        ([f"Content-Length: {size + 5}"], body),
        ([f"Content-Length: {max(0, size - 5)}"], body),
        ([f"Content-Length: {size}", f"Content-Length: {size + 1}"], body),
        ([f"Content-Length: {size}", "Transfer-Encoding: chunked"], chunked),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], chunked),
        (["Transfer-Encoding : chunked"], chunked),
        (["Transfer-Encoding: \x0bchunked"], chunked),
        (["Transfer-Encoding: chunked"], body),
        (["Transfer-Encoding: chunked"], chunked[:-3]),
        (["Content-Length: -1"], body),
        (["Content-Length: 99999999999999999999"], body),
        (["Content-Length: 0x10"], body),
        ([f"Content-Length: {9 * 2**20}"], body),
        ([], body),
    )
    more, framed = chance.choice(ways)
    return [*lines, *more], framed


def _head(lines: Sequence[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def send(server: Server, wire: Wire) -> tuple[int, bytes]:
    """Send raw bytes, close our side, and return the last status that came back and all of the answer; 0 for none."""
    host, port = server.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
        with contextlib.suppress(OSError):  # it may be refused half-way, with the answer on its way
            connection.sendall(wire.data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    statuses = [int(found) for found in STATUS.findall(received)]
    return max(statuses, default=0), received


@dataclass
class Report:
    """What a run saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    good: int = 0


class Neighbour(threading.Thread):
    """Asks good requests for as long as a block lasts, and notes every answer that is not what it is alone."""

    def __init__(self, server: Server, models: Sequence[str], report: Report) -> None:
        super().__init__(daemon=True)
        self._bodies = [(model, body) for model in models for body in family(model).good(model)]
        self._url = server.url
        self._report = report
        self._told = threading.Event()

    def run(self) -> None:
        """Ask one after the other until told to stop."""
        with httpx.Client(base_url=self._url, timeout=60) as client:
            alone: dict[int, Any] = {}
            while not self._told.is_set():
                for at, (model, body) in enumerate(self._bodies):
                    try:
                        answer = client.post(f"/predictions/{model}", json=body)
                    except httpx.RemoteProtocolError:  # cut off, as above
                        continue
                    self._report.good += 1
                    if answer.status_code != 200:
                        self._report.faults.append(f"a good request to {model}: {answer.text[:300]}")
                    elif not close(answer.json()["predictions"], alone.setdefault(at, answer.json()["predictions"])):
                        self._report.faults.append(f"a good request to {model} is answered otherwise")

    def __enter__(self) -> "Neighbour":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        self.join(120)


def attack(server: Server, models: Sequence[str], seed: int, numbers: Sequence[int]) -> Report:
    """Send the requests of a seed by their numbers, and look at what became of the server."""
    report = Report()
    workers = {model: server.worker_pids(model) for model in models}

    def one(number: int) -> None:
        chance = random.Random(f"{seed}:{number}")
        model = chance.choice(models)
        wire = request(chance, model, family(model).good(model))
        try:
            status, received = send(server, wire)
            if not status and not wire.malformed:  # held up for as long as `body_timeout_s`, it was cut off
                status, received = send(server, wire)
        except OSError as error:
            report.faults.append(f"{seed}:{number} {error!r}")
            return
        report.statuses[status] += 1
        if status >= 500 and status not in MAY_FAIL:
            report.faults.append(f"{seed}:{number} {received[:400]!r}")
        if not status and not wire.malformed:
            report.faults.append(f"{seed}:{number} no answer")

    with Neighbour(server, models, report), ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(one, numbers):
            pass
    for model in models:
        if server.worker_pids(model) != workers[model]:
            report.faults.append(f"workers of {model} were {workers[model]}, are {server.worker_pids(model)}")
    time.sleep(1.5)  # the access log is written every second
    for line in (server.log_dir / "access.jsonl").read_bytes().splitlines():
        if re.search(rb'"picked":"1","status":5', line) and not re.search(rb'"status":50[15]', line):
            report.faults.append(f"counts against a version: {line[:300]!r}")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: a new one")
    parser.add_argument("--only", type=int, metavar="K", help="send request K of the seed alone, and print it")
    parser.add_argument("--model", action="append", choices=sorted(MODELS), help="repeatable (default: all)")
    options = parser.parse_args()
    models = options.model or sorted(MODELS)
    print(f"seed {options.seed}; building the archives of {', '.join(models)}", flush=True)
    try:
        archives = [path for model in models for path in loaded(model)[1].glob("*.mar")]
        with running(archives, SETTINGS) as server:
            if options.only is not None:
                chance = random.Random(f"{options.seed}:{options.only}")
                model = chance.choice(models)
                wire = request(chance, model, family(model).good(model))
                print(wire.data[:4000], send(server, wire), sep="\n\n")
                return 0
            began = time.monotonic()
            report = attack(server, models, options.seed, range(options.requests))
            took = time.monotonic() - began
    finally:
        sweep()
    shown = ", ".join(f"{status or 'closed'}: {count}" for status, count in sorted(report.statuses.items()))
    print(f"{options.requests} requests in {took:.0f} s ({shown}), {report.good} good ones beside them")
    for fault in report.faults[:50]:
        print("FAULT", fault)
    print("no fault" if not report.faults else f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())

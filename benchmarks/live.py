"""Measure live signing: many sessions at 30 frames a second, and how long after a sign its answer comes.

    python -m benchmarks.live --archive archives/store/signflow-1.0.mar
    python -m benchmarks.live --archive FILE --sessions 25 --seconds 60

Every session signs generated signs, one after the other with hands out of view between them, at times of its own; each
frame is sent when it is due. Three times are printed, each a median and a 95th percentile: the server's own, from the
frame that ends a sign to its answer; the client's, from sending that frame to reading the answer; and how late the
client itself was with its frames. Where the last is not small, the machine is too small for client and server together.
Beside it: how many signs got no answer, whether two sessions that sign the same get the same (no cross-talk), the
service's CPU and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.host import describe_machine
from marina.products.live.demo_stream import PER_SECOND, stream
from marina.products.live.frames import pack
from marina.serving import temporary_server
from training.signflow.synthetic.signing import Synthesis, generate

SIGNERS = 8
RAMP_S = 4.0
"""Over how long the sessions begin."""


@dataclass
class Measured:
    """What the sessions saw, times in ms."""

    served: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    unanswered: int = 0
    answers: dict[tuple[int, int], set[str]] = field(default_factory=lambda: defaultdict(set))


async def sign(url: str, which: int, frames: npt.NDArray[np.float16], seconds: float, measured: Measured) -> None:
    """Be one session: play frames again and again, from a place of its own."""
    await asyncio.sleep(RAMP_S * which / 100)
    sent: dict[int, float] = {}
    async with connect(url, compression=None, open_timeout=60, proxy=None) as page:
        await page.send(json.dumps({"type": "hello"}))
        reading = asyncio.create_task(_read(page, which, len(frames), sent, measured))
        begun = time.perf_counter()
        for number in range(int(seconds * PER_SECOND)):
            due = begun + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            measured.late.append(1000 * (now - due))
            sent[number] = now
            await page.send(pack(number, number / PER_SECOND, frames[number % len(frames)]))
        await asyncio.sleep(1)
        reading.cancel()


async def _read(page: ClientConnection, which: int, length: int, sent: dict[int, float], measured: Measured) -> None:
    ended, frame = 0.0, 0
    async for text in page:
        message = json.loads(text)
        if message["type"] == "state" and message["state"] == "INFERRING":
            frame = message["frame"]
            ended = sent[frame]
        elif message["type"] == "answer":
            if not message["predictions"]:
                measured.unanswered += 1
                continue
            measured.served.append(message["ms"])
            measured.seen.append(1000 * (time.perf_counter() - ended))
            measured.answers[which % SIGNERS, frame % length].add(message["predictions"][0]["label"])


def measure(server: temporary_server.Server, sessions: int, seconds: float) -> Measured:
    """Have so many sessions sign for so long."""
    clips = generate(Synthesis(signs=4, signers=SIGNERS, takes=1))
    by_signer = [np.flatnonzero(clips.signers == signer) for signer in np.unique(clips.signers)]
    streams = [stream([clips.sequences[one] for one in own]) for own in by_signer]
    measured = Measured()
    url = f"{server.url.replace('http', 'ws')}/live/stream"

    async def run() -> None:
        await asyncio.gather(
            *(sign(url, which, streams[which % SIGNERS], seconds, measured) for which in range(sessions))
        )

    asyncio.run(run())
    return measured


def show(name: str, values: list[float]) -> None:
    """Print a median and a 95th percentile."""
    middle, high = np.quantile(values, [0.5, 0.95]) if values else (np.nan, np.nan)
    print(f"{name:34} p50 {middle:7.1f} ms   p95 {high:7.1f} ms   of {len(values)}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="SignFlow's archive")
    parser.add_argument("--sessions", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="default: %(default)s")
    options = parser.parse_args(argv)
    print(describe_machine())
    overrides: dict[str, str | int | float] = {"live_sessions": options.sessions, "live_confidence": 0}
    with temporary_server.running([options.archive], overrides) as server:
        live = psutil.Process(server.pids["live"])
        before, started = live.cpu_times(), time.monotonic()
        measured = measure(server, options.sessions, options.seconds)
        after, took = live.cpu_times(), time.monotonic() - started
        memory = live.memory_info().rss
    show("end of a sign to answer, server", measured.served)
    show("end of a sign to answer, client", measured.seen)
    show("the client's own lateness", measured.late)
    print(f"signs without an answer            {measured.unanswered}")
    different = sum(len(labels) > 1 for labels in measured.answers.values())
    print(f"equal signs with unequal answers   {different} of {len(measured.answers)}")
    spent = after.user + after.system - before.user - before.system
    each = 1000 * spent / (options.sessions * options.seconds)
    print(f"the service                        {spent / took:.0%} of a core, {memory / 1e6:.0f} MB")
    print(f"processor time of one session      {each:.1f} ms a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A live service in this process, and a page's side of the conversation with it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from marina.products.live.demo_stream import stream
from marina.products.live.frames import pack
from marina.products.live.service import application
from marina.settings import Settings
from training.signflow.synthetic.signing import Synthesis, generate

STEP_S = 1 / 30
Answer = dict[str, Any]
Ask = Callable[[httpx.Request], httpx.Response]


def by_content(request: httpx.Request) -> httpx.Response:
    """Answer as a model would whose sign depends on every bit of the frames, and on nothing else."""
    frames = np.load(io.BytesIO(request.content), allow_pickle=False)
    label = hashlib.sha256(frames.tobytes()).hexdigest()[:12]
    return httpx.Response(200, json={"version": "1.0", "predictions": [{"label": label, "probability": 0.9}]})


@contextlib.asynccontextmanager
async def serving(ask: Ask = by_content, **values: Any) -> AsyncIterator[str]:
    """Serve with these settings and this model; give the address of the WebSocket."""
    settings = Settings(**{"live_partial_s": 60, **values})
    client = httpx.AsyncClient(transport=httpx.MockTransport(ask), base_url="http://gateway")
    config = uvicorn.Config(
        application(settings, client), ws="websockets-sansio", log_level="error", ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}/live/stream"
        finally:
            server.should_exit = True
            await task


def performed(count: int, seed: int = 0) -> list[npt.NDArray[np.float16]]:
    """Return that many streams, each of one sign by a signer of its own, with pauses about it."""
    clips = generate(Synthesis(signs=2, signers=count, takes=1, seed=seed))
    return [stream([sequence]) for sequence in clips.sequences[:count]]


@contextlib.asynccontextmanager
async def talking(url: str, **hello: Any) -> AsyncIterator[ClientConnection]:
    """Connect and greet."""
    async with connect(url, proxy=None) as page:
        await page.send(json.dumps({"type": "hello", **hello}))
        yield page


async def hear(page: ClientConnection, kind: str, within_s: float = 20.0) -> Answer:
    """Wait for a message of a kind."""
    async with asyncio.timeout(within_s):
        while True:
            message: Answer = json.loads(await page.recv())
            if message["type"] == kind:
                return message


async def play(page: ClientConnection, frames: npt.NDArray[np.float16], begin: int = 0, end: int | None = None) -> None:
    """Send frames as fast as they go; their times are those of 30 a second."""
    for number, landmarks in enumerate(frames[begin:end], begin):
        await page.send(pack(number, number * STEP_S, landmarks))

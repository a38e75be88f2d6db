"""Clients that keep asking while something happens to the server."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import httpx

from tests.serving import Server


class Traffic:
    """Clients in a closed loop, for as long as a block of code runs; what one meets but an answer is raised at its end.

    Parameters
    ----------
    wish, content
        The body, as an object or as it is.
    connections
        How many ask at once.
    most
        How often each asks at most; 0: until the block ends.
    """

    def __init__(
        self,
        server: Server,
        path: str = "/predictions/echo",
        wish: Mapping[str, object] | None = None,
        *,
        content: bytes | None = None,
        connections: int = 8,
        most: int = 0,
    ) -> None:
        self.answers: list[httpx.Response] = []
        self._url, self._path, self._most = server.url, path, most
        self._body = json.dumps(dict(wish or {})).encode() if content is None else content
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(connections)
        self._connections = connections
        self._futures: list[Future[None]] = []

    @property
    def statuses(self) -> Counter[int]:
        """How many answers of each status there were."""
        return Counter(answer.status_code for answer in self.answers)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            asked = 0
            while not self._stop.is_set() and not 0 < self._most <= asked:
                self.answers.append(client.post(self._path, content=self._body))
                asked += 1

    def __enter__(self) -> Self:
        """Begin."""
        self._futures = [self._pool.submit(self._ask) for _ in range(self._connections)]
        return self

    def __exit__(self, *_: object) -> None:
        """Let each have its last answer."""
        if not self._most:
            self._stop.set()
        for future in self._futures:
            future.result(timeout=120)
        self._pool.shutdown()

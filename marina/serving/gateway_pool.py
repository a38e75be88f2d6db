"""Asynchronous requests to this server's own gateway, over connections that are kept: a transport for httpx.

It speaks as much of HTTP/1.1 as one known server needs: one origin, bodies as a whole, no proxies, no HTTP/2. httpx's
own transport serves any of them and takes four fifths of a request's processor time for that. `Gateway` asks over the
same connections without httpx's client, which takes most of the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import httpx

from marina.serving.gateway import own_url
from marina.serving.health_check import own_certificate
from marina.settings import Settings

MOST_CONNECTIONS: Final = 64
IDLE_S: Final = 5.0
"""A connection that waited longer for a request is not used again: the gateway may be about to close it."""

LARGEST_HEAD: Final = 256 * 1024
BODILESS: Final = frozenset({204, 304})
"""Statuses without a body."""


PURE: Final = (b"/predictions/", b"/explanations/")
"""Paths whose requests may be sent twice: they change nothing."""


class Said(NamedTuple):
    """An answer: its status, its headers by their names in small letters, and its body, whole."""

    status: int
    headers: Mapping[bytes, bytes]
    content: bytes

    def header(self, name: bytes) -> str:
        """Return a header's value, empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")


class _UnansweredError(httpx.RemoteProtocolError):
    """The connection ended before a byte of an answer came."""


class _Reader(asyncio.StreamReader):
    """Gives what came before a connection broke: an early answer (413, 429) may be followed by a reset."""

    broken = False

    def set_exception(self, exc: Exception) -> None:
        self.broken = True
        self.feed_eof()

    @property
    def unread(self) -> bool:
        """Whether more has come than was read."""
        return bool(self._buffer)  # type: ignore[attr-defined]


class _Connection:
    """One connection, with one exchange at a time."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.idle_from = 0.0

    @property
    def clean(self) -> bool:
        """Whether it is open, and nothing is left in it: all was sent, all was read."""
        transport = self._writer.transport
        sent = not transport.is_closing() and not transport.get_write_buffer_size()
        return sent and not self._reader.unread and not self._reader.at_eof()

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: it is clean, and has not waited for long."""
        return self.clean and time.monotonic() - self.idle_from < IDLE_S

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """End it at once: what was not sent is not sent any more."""
        self._writer.transport.abort()

    async def closed(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def exchange(self, method: bytes, head: bytes, body: bytes) -> tuple[Said, bool]:
        """Send a request; return the answer, read whole, and whether the connection can be kept."""
        self._writer.write(head + body)  # an answer may come before all of it was sent, so that is not waited for
        status, headers, begun = 100, dict[bytes, bytes](), False
        while 100 <= status < 200:
            try:
                lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            except asyncio.IncompleteReadError as error:
                if not error.partial and not begun:
                    raise _UnansweredError("the server closed the connection without an answer") from error
                raise
            begun = True
            version, _, rest = lines[0].partition(b" ")
            status, headers = int(rest[:3]), {}
            for line in lines[1:-2]:
                name, _, value = line.partition(b":")
                name, value = name.lower(), value.strip()
                headers[name] = headers[name] + b", " + value if name in headers else value
        kept = version == b"HTTP/1.1" and headers.get(b"connection", b"").lower() != b"close"
        if method == b"HEAD" or status in BODILESS:
            content = b""
        elif headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            content = await self._chunks()
        elif b"content-length" in headers:
            content = await self._reader.readexactly(int(headers[b"content-length"]))
        else:
            content, kept = await self._reader.read(), False
            if self._reader.broken:
                raise asyncio.IncompleteReadError(content, None)
        return Said(status, headers, content), kept and self.clean

    async def _chunks(self) -> bytes:
        parts = []
        while size := int((await self._reader.readline()).partition(b";")[0], 16):
            parts.append((await self._reader.readexactly(size + 2))[:-2])
        while await self._reader.readline() not in (b"\r\n", b""):
            pass
        return b"".join(parts)


class GatewayPool(httpx.AsyncBaseTransport):
    """Connections to one server; those that wait for a request are used again, the last one first.

    Parameters
    ----------
    context
        How to trust the server, where it speaks TLS.
    most
        Connections at once; further requests wait for one.
    """

    def __init__(self, context: ssl.SSLContext | None = None, most: int = MOST_CONNECTIONS) -> None:
        self._context = context
        self._room = asyncio.Semaphore(most)
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of httpx's; errors as of `send`."""
        method, body = request.method.encode(), await request.aread()
        limits = request.extensions.get("timeout", {})
        said = await self.send(request.url, method, request.url.raw_path, request.headers.raw, body, limits)
        return httpx.Response(said.status, headers=list(said.headers.items()), content=said.content)

    async def send(
        self,
        origin: httpx.URL,
        method: bytes,
        path: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        limits: Mapping[str, float | None],
    ) -> Said:
        """Send a request, and return its answer, read whole.

        Parameters
        ----------
        origin
            The server.
        limits
            Seconds to ``connect``, to ``read`` the answer, and to wait for a connection of the ``pool``.

        Raises
        ------
        httpx.TimeoutException
            If there is no connection, or no whole answer, in time.
        httpx.TransportError
            If the server cannot be reached, goes away, or speaks no HTTP/1.1.
        """
        lines = [b"%b: %b\r\n" % field for field in headers]
        fields = b"".join(lines)
        if fields.count(b"\n") != len(lines) or fields.count(b"\r") != len(lines):
            raise httpx.LocalProtocolError("a header holds the end of a line")
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path, fields)
        if self._room.locked():
            with _timed(httpx.PoolTimeout, "no connection is free"):
                async with asyncio.timeout(limits.get("pool")):
                    await self._room.acquire()
        else:
            await self._room.acquire()  # without waiting
        try:
            waiting = self._waiting()
            connection = waiting or await self._connect(origin, limits.get("connect"))
            with _timed(httpx.ReadTimeout, "no answer in time"), _broken():
                async with asyncio.timeout(limits.get("read")):
                    try:
                        return await self._exchange(connection, method, head, body)
                    except _UnansweredError:  # perhaps it was closed as the request came
                        if waiting is None or not path.startswith(PURE):
                            raise
                    connection = await self._connect(origin, limits.get("connect"))
                    return await self._exchange(connection, method, head, body)
        finally:
            self._room.release()

    async def _exchange(self, connection: _Connection, method: bytes, head: bytes, body: bytes) -> Said:
        kept = False
        try:
            said, kept = await connection.exchange(method, head, body)
        finally:
            if kept:
                connection.idle_from = time.monotonic()
                self._idle.append(connection)
            else:
                connection.abort()
        return said

    async def aclose(self) -> None:
        """Close what waits for a request."""
        closed, self._idle = self._idle, []
        for connection in closed:
            connection.close()
        for connection in closed:
            await connection.closed()

    def _waiting(self) -> _Connection | None:
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
            connection.abort()
        return None

    async def _connect(self, url: httpx.URL, within_s: float | None) -> _Connection:
        port = url.port or (443 if self._context else 80)
        try:
            with _timed(httpx.ConnectTimeout, "no connection in time"):
                async with asyncio.timeout(within_s):
                    return await _open(url.host, port, self._context)
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


async def _open(host: str, port: int, context: ssl.SSLContext | None) -> _Connection:
    """Connect as `asyncio.open_connection` does, with a reader of our own."""
    reader = _Reader(limit=LARGEST_HEAD)
    protocol, loop = asyncio.StreamReaderProtocol(reader), asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=context)
    return _Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


@contextlib.contextmanager
def _timed(kind: type[httpx.TimeoutException], message: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise kind(message) from error


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except asyncio.IncompleteReadError as error:
        raise httpx.RemoteProtocolError("the server closed the connection before its answer was whole") from error
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise httpx.RemoteProtocolError(f"no HTTP/1.1: {error}") from error
    except TimeoutError:
        raise
    except OSError as error:
        raise httpx.ReadError(str(error)) from error


class Gateway:
    """The gateway of this server, asked over connections that are kept.

    Parameters
    ----------
    settings
        Where it is.
    timeout_s
        How long a request takes at most.
    """

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self._origin = _origin(settings)
        self._pool = _pool(settings)
        self._host = (b"Host", self._origin.netloc)
        self._limits = dict.fromkeys(("connect", "read", "pool"), timeout_s)

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Said:
        """Send a POST and return its answer; `UnicodeEncodeError` where a header is no ASCII, others as of the pool."""
        fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        fields += (self._host, (b"Content-Length", b"%d" % len(body)))
        return await self._pool.send(self._origin, b"POST", path.encode(), fields, body, self._limits)

    async def aclose(self) -> None:
        """Close what waits for a request."""
        await self._pool.aclose()


def open_client(settings: Settings, timeout_s: float) -> httpx.AsyncClient:
    """Return a client of this server's own gateway, whose requests take that long at most."""
    return httpx.AsyncClient(base_url=_origin(settings), timeout=timeout_s, transport=_pool(settings), trust_env=False)


def _origin(settings: Settings) -> httpx.URL:
    return httpx.URL(own_url(settings, settings.host, settings.inference_port))


def _pool(settings: Settings) -> GatewayPool:
    certificate = own_certificate(settings)
    return GatewayPool(certificate if isinstance(certificate, ssl.SSLContext) else None)

"""The gateway's answers are read whole, however they are framed; connections are used again, and never a closed one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from marina.serving.gateway_pool import Gateway, GatewayPool
from marina.serving.health_check import own_certificate
from marina.settings import Settings
from tests.certificates import self_signed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Model-Version: 1.0\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(serve: Serve, most: int = 4, timeout_s: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a server that does as it is told with each connection."""

    under_way: set[asyncio.Task[None] | None] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, transport=GatewayPool(most=most), timeout=timeout_s) as client:
            yield client
        await asyncio.gather(*[task for task in under_way if task is not None])


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return head, await reader.readexactly(int(length.partition(b":")[2]))


def test_the_gateway_is_asked_without_a_client_of_httpx_by_the_same_rules() -> None:
    heads: list[bytes] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head, body = await read_request(reader)
                heads.append(head)
                writer.write(
                    b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            gateway = Gateway(Settings.model_validate({"inference_port": port}), 5.0)
            for body in (b"first", b"second"):
                said = await gateway.post("/predictions/x", {"Authorization": "Bearer a"}, body)
                assert (said.status, said.content, said.header(b"retry-after")) == (429, body, "3")
                assert said.header(b"x-model-version") == ""
            with pytest.raises(httpx.LocalProtocolError):
                await gateway.post("/predictions/x", {"X-Session-Id": "a\r\nX-Other: b"}, b"")
            with pytest.raises(UnicodeEncodeError):
                await gateway.post("/predictions/x", {"X-Session-Id": "é"}, b"")
            await gateway.aclose()
            with pytest.raises(httpx.ConnectError):
                await Gateway(Settings.model_validate({"inference_port": 9}), 5.0).post("/", {}, b"")
        assert len(heads) == 2 and all(f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in head for head in heads)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", b"ok"),
    ],
)
def test_an_answer_is_read_whole_however_it_is_framed(answer: bytes, content: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            assert head.startswith(b"POST /predictions/x?a=1 HTTP/1.1\r\n") and body == b"question"
            writer.write(answer)
            await writer.drain()
            if b"close" in answer or content.startswith(b"until"):
                return

    async def run() -> None:
        async with serving(serve) as client:
            for _ in range(3):
                assert (await client.post("/predictions/x?a=1", content=b"question")).content == content

    asyncio.run(run())


def test_connections_are_used_again_are_bounded_and_do_not_mix_answers() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            _, body = await read_request(reader)
            await asyncio.sleep(0.001)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def run() -> None:
        async with serving(serve) as client:
            questions = [b"%d" % number for number in range(100)]
            answers = await asyncio.gather(*[client.post("/", content=one) for one in questions])
            assert [one.content for one in answers] == questions

    asyncio.run(run())
    assert connections == 4


def test_a_connection_that_the_server_closed_is_not_used_and_one_whose_request_was_left_neither() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        await asyncio.sleep(0.2 if body == b"slow" else 0)
        writer.write(OK)

    async def run() -> None:
        async with serving(once, most=1) as client:
            for _ in range(3):
                assert (await client.post("/", content=b"x")).content == b"ok"
                await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.post("/", content=b"slow")
            assert (await client.post("/", content=b"x")).content == b"ok"

    asyncio.run(run())


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 what\r\n\r\n"])
def test_what_is_no_answer_is_an_error_of_transport(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)

    async def run() -> None:
        async with serving(serve) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/")

    asyncio.run(run())


def test_times_are_kept_and_lines_cannot_be_smuggled() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(0.5)

    async def run() -> None:
        async with serving(silent, most=1, timeout_s=0.1) as client:
            kinds = await asyncio.gather(client.get("/"), client.get("/"), return_exceptions=True)
            assert {type(one) for one in kinds} == {httpx.ReadTimeout, httpx.PoolTimeout}
            with pytest.raises(httpx.LocalProtocolError):
                await client.get("/", headers={"X-Session-Id": "a\r\nX-Other: b"})
        async with httpx.AsyncClient(transport=GatewayPool()) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:9")

    asyncio.run(run())


LARGE = b"x" * (8 << 20)
"""More than the system takes of a request before it is read."""


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a server does that goes away at once."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def test_bytes_after_an_answer_are_no_part_of_the_next_one() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%b" % body)
            if body == b"1":  # at once; after "2" only once the connection waits
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n?")
            elif body == b"2":
                await asyncio.sleep(0.02)
                writer.write(b"surplus")

    async def run() -> None:
        async with serving(serve, most=1) as client:
            for body in (b"1", b"2", b"3", b"4"):
                assert (await client.post("/feedback", content=body)).content == body
                await asyncio.sleep(0.05)

    asyncio.run(run())


def test_a_connection_that_was_reset_while_it_waited_is_not_used() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.02)
        reset(writer)

    async def run() -> None:
        async with serving(serve, most=1) as client:
            for _ in range(3):
                assert (await client.post("/feedback", content=b"x")).content == b"ok"
                await asyncio.sleep(0.05)

    asyncio.run(run())


@pytest.mark.parametrize("end", [reset, asyncio.StreamWriter.close])
def test_what_a_closing_connection_left_unanswered_is_asked_once_more_where_it_changes_nothing(
    end: Callable[[asyncio.StreamWriter], None],
) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        head, _ = await read_request(reader)
        asked.append(head.split()[1])
        end(writer)

    async def run() -> None:
        async with serving(serve, most=1) as client:
            for path in ("/feedback", "/predictions/x", "/explanations/x"):  # the first opens a connection
                assert (await client.post(path, content=b"x")).content == b"ok"
            with pytest.raises(httpx.TransportError):
                await client.post("/feedback", content=b"x")

    asyncio.run(run())
    assert asked == [b"/predictions/x", b"/explanations/x", b"/feedback"]


@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_that_comes_before_the_request_was_sent_is_read(ends: bool) -> None:
    """A server refuses by the head what is too large, or too much; some read on, some do not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await asyncio.sleep(0.02)
        if ends:
            reset(writer)
        else:
            with contextlib.suppress(ConnectionError):
                while await reader.read(1 << 20):
                    pass

    async def run() -> None:
        async with serving(serve, most=1) as client:
            for _ in range(2):
                answer = await client.post("/feedback", content=LARGE)
                assert (answer.status_code, answer.content) == (413, b"large")

    asyncio.run(run())


def test_what_was_not_sent_of_a_request_that_was_left_is_not_sent_any_more() -> None:
    came = 0

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal came
        await asyncio.sleep(0.2)
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(1 << 20):
                came += len(part)

    async def run() -> None:
        async with serving(serve, most=1, timeout_s=0.1) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/feedback", content=LARGE)

    asyncio.run(run())
    assert came < len(LARGE)


def test_by_tls_the_servers_own_certificate_is_trusted_and_no_other(tmp_path: Path) -> None:
    own, foreign = self_signed(tmp_path), self_signed(tmp_path, "foreign")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own["tls_certificate"], own["tls_key"])

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                _, body = await read_request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def ask(url: str, trusted: dict[str, Path]) -> list[bytes]:
        trust = own_certificate(Settings.model_validate(trusted))
        assert isinstance(trust, ssl.SSLContext)
        async with httpx.AsyncClient(base_url=url, transport=GatewayPool(trust)) as client:
            return [(await client.post("/predictions/x", content=body)).content for body in (b"a", LARGE, b"b")]

    async def run() -> None:
        async with await asyncio.start_server(one, "127.0.0.1", 0, ssl=context) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            assert await ask(url, own) == [b"a", LARGE, b"b"]
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await ask(url, foreign)

    asyncio.run(run())

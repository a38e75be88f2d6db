import asyncio
from typing import Any

import pytest

from benchmarks.load_generator import drive, measure_serving, request

Driven = tuple[list[float], int, float]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def against(delay_s: float, **how: Any) -> Driven:
    """Load a server that answers one request at a time, each after a delay."""

    async def both() -> Driven:
        one_at_a_time = asyncio.Lock()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                async with one_at_a_time:
                    await asyncio.sleep(delay_s)
                writer.write(ANSWER)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await drive(f"http://127.0.0.1:{port}", [request("/", b"{}")], **how)

    return asyncio.run(both())


def test_a_closed_load_keeps_every_connection_busy() -> None:
    latencies, errors, took = against(0.01, connections=4, seconds=0.5)
    assert errors == 0 and took < 2
    assert sorted(latencies)[len(latencies) // 2] > 0.03  # each waits for the three others


def test_an_open_load_comes_at_its_own_rate_and_counts_from_when_requests_were_due() -> None:
    latencies, errors, _ = against(0.0, connections=8, seconds=2.0, per_second=100)
    assert errors == 0
    assert 150 < len(latencies) < 250
    late, _, _ = against(0.02, connections=2, seconds=0.5, per_second=200)  # four times what it can do
    assert max(late) > 0.25, "a server that falls behind has hidden it"


def test_connections_take_turns_at_the_requests() -> None:
    came = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await reader.read(65536):
            came.append(got)
            writer.write(ANSWER)
        writer.close()

    async def both() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await drive(f"http://127.0.0.1:{port}", [request("/", b"one"), request("/", b"two")], 2, 0.1)

    asyncio.run(both())
    assert {one[-3:] for one in came[:2]} == {b"one", b"two"}


def test_a_server_that_hangs_up_early_has_spoilt_the_measurement() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.close()

    async def both() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await drive(f"http://127.0.0.1:{port}", [request("/", b"{}")], 1, 0.5)

    with pytest.raises(ConnectionError, match="closed the connection"):
        asyncio.run(both())


def test_no_server_is_an_error() -> None:
    with pytest.raises(OSError):
        measure_serving("x", "http://127.0.0.1:1", [request("/", b"{}")], 1, 0.1)

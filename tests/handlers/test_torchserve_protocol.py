import random
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.torchserve_protocol import AHEAD_BYTES, read_ahead, read_batch

Fields = Sequence[tuple[bytes, ...]]

NAMES = st.binary(max_size=40)
BODIES = st.sampled_from([0, 1, 700, AHEAD_BYTES - 4, AHEAD_BYTES, AHEAD_BYTES + 1, 3 * AHEAD_BYTES, 1_000_003])
REQUESTS = st.lists(st.tuples(NAMES, st.lists(st.tuples(NAMES, NAMES), max_size=4), st.lists(BODIES, max_size=2)))


def field(content: bytes) -> bytes:
    return struct.pack("!i", len(content)) + content


def message(requests: Sequence[tuple[bytes, Fields, Fields]]) -> bytes:
    """Write a batch as TorchServe does: each list of fields ends with a length of -1."""
    end = struct.pack("!i", -1)
    parts = []
    for name, *lists in requests:
        parts.append(field(name))
        for fields in lists:
            parts += [field(content) for one in fields for content in one]
            parts.append(end)
    return b"".join([*parts, end])


def read(sent: bytes, piece: int) -> list[dict[str, object]]:
    """Read what another thread sends in pieces, then closes."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            for start in range(0, len(sent), piece):
                theirs.sendall(sent[start : start + piece])

    sender = threading.Thread(target=send)
    sender.start()
    with ours:
        try:
            return read_batch(ours)
        finally:
            sender.join()


@settings(deadline=None, max_examples=60)
@given(requests=REQUESTS, piece=st.sampled_from([997, 65_536, 10_000_000]))
def test_a_batch_is_read_whole_however_it_comes(
    requests: list[tuple[bytes, list[tuple[bytes, bytes]], list[int]]], piece: int
) -> None:
    chance = random.Random(0)
    batch = [
        (name, headers, [(b"body", b"application/json", chance.randbytes(size)) for size in sizes])
        for name, headers, sizes in requests
    ]
    found = read(message(batch), piece)
    assert found == [
        {
            "requestId": name,
            "headers": [{"name": key, "value": value} for key, value in headers],
            "parameters": [{"name": "body", "contentType": "application/json", "value": body} for _, _, body in bodies],
        }
        for name, headers, bodies in batch
    ]


def test_torchserve_reads_the_same_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = pytest.importorskip("ts.protocol.otf_message_handler")
    batch = [(b"1", [(b"Content-Type", b"text/plain")], [(b"body", b"application/x-npy", b"\x93NUMPY" * 99)])] * 3
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"I" + message(batch))
        stock = protocol.retrieve_msg(ours)
    monkeypatch.setattr(protocol, "_retrieve_inference_msg", protocol._retrieve_inference_msg)  # put back afterwards
    read_ahead()
    assert protocol._retrieve_inference_msg is read_batch
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"I" + message(batch))
        assert protocol.retrieve_msg(ours) == stock


@pytest.mark.parametrize(("release", "replaced"), [("0.12.0", True), ("0.13.0", False)])
def test_only_the_release_it_was_made_for_is_read_ahead(
    release: str, replaced: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = SimpleNamespace(_retrieve_inference_msg=None)
    monkeypatch.setitem(sys.modules, "ts", SimpleNamespace(__version__=release))
    monkeypatch.setitem(sys.modules, "ts.protocol.otf_message_handler", protocol)
    read_ahead()
    assert (protocol._retrieve_inference_msg is read_batch) is replaced
    assert ("itself" in caplog.text) is not replaced


def test_a_server_that_goes_away_ends_the_worker() -> None:
    whole = message([(b"1", [], [(b"body", b"", b"x" * 200_000)])])
    for kept in (0, 2, 30, 100_000, len(whole) - 1):
        with pytest.raises(SystemExit):
            read(whole[:kept], 4096)


def test_a_second_message_is_refused() -> None:
    with pytest.raises(RuntimeError, match="1 bytes follow"):
        read(message([]) + b"I", 4096)

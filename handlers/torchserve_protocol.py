"""How a worker takes a batch from TorchServe: reading ahead.

TorchServe's worker makes a system call for each length and each field of a message, some forty for a request with
six headers, which is half of what an empty worker costs. Here they are read in pieces of 64 kB; large fields still go
straight to where they stay. Bodies are never decoded, whatever TorchServe is set to: handlers read bytes.
"""

import logging
import socket
import struct
import sys
from typing import Any

logger = logging.getLogger(__name__)

TORCHSERVE = "0.12.0"
"""The release whose messages these are, and its last one."""

AHEAD_BYTES = 65536

_integer = struct.Struct("!i").unpack


def read_ahead() -> None:
    """Let TorchServe's worker in this process read batches with `read_batch`; another release keeps its own way."""
    torchserve, protocol = sys.modules.get("ts"), sys.modules.get("ts.protocol.otf_message_handler")
    if torchserve is None or protocol is None:  # no worker: a test, or a benchmark
        return
    if (release := torchserve.__version__.strip()) != TORCHSERVE:
        logger.warning("TorchServe %s reads its messages itself: only those of %s are read ahead", release, TORCHSERVE)
        return
    protocol.__dict__["_retrieve_inference_msg"] = read_batch


def read_batch(connection: socket.socket) -> list[dict[str, Any]]:
    """Read one batch, of which TorchServe has sent the command and nothing after.

    Parameters
    ----------
    connection : socket
        Blocking; TorchServe sends no other message on it before this one is answered.

    Returns
    -------
    list of dict
        As TorchServe's own reader: ``requestId``, ``headers`` (``name``, ``value``), and ``parameters`` (``name``,
        ``contentType``, ``value``), all bytes but a parameter's name and type.

    Raises
    ------
    SystemExit
        If TorchServe is gone, as its own reader does.
    RuntimeError
        If there is more than one message: it ends the worker, whose requests are then asked again elsewhere.
    """
    ahead, at = b"", 0

    def field(size: int) -> bytes | bytearray:
        nonlocal ahead, at
        start, at = at, at + size
        if at <= len(ahead):
            return ahead[start:at]
        whole, have = bytearray(size), len(ahead) - start
        whole[:have] = ahead[start:]
        ahead, at = b"", 0
        with memoryview(whole) as view:
            while size - have >= AHEAD_BYTES:
                have += _more(connection.recv_into(view[have:]))
            while have < size:
                ahead = connection.recv(AHEAD_BYTES)
                at = min(_more(len(ahead)), size - have)
                view[have : have + at] = ahead[:at]
                have += at
        return whole

    def length() -> int:
        return int(_integer(field(4))[0])

    batch = []
    while (size := length()) >= 0:  # each list ends with -1
        request: dict[str, Any] = {"requestId": field(size), "headers": [], "parameters": []}
        while (size := length()) >= 0:
            request["headers"].append({"name": field(size), "value": field(length())})
        while (size := length()) >= 0:
            name, kind = field(size).decode(), field(length()).decode()
            request["parameters"].append({"name": name, "contentType": kind, "value": field(length())})
        batch.append(request)
    if at < len(ahead):
        raise RuntimeError(f"{len(ahead) - at} bytes follow a batch that has not been answered")
    return batch


def _more(received: int) -> int:
    """Return what was received; nothing means that TorchServe is gone."""
    if not received:
        sys.exit(0)
    return received

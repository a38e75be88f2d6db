"""Requests made of odd parts, sent to the gateway as bytes: whatever comes, the answer is one of those documented.

    MARINA_TEST_FUZZ=100000 pytest tests/marina/serving/test_front_fuzz.py     # the ordinary run sends 400

A failure names the seed of its request: `request_of(seed)` is that request.
"""

import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.marina.serving.front import TOKEN, Front, front

COUNT = int(os.environ.get("MARINA_TEST_FUZZ", "400"))
METHODS = ["GET", "POST", "PUT", "DELETE"] * 4 + [
    "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "POST ", "P\0ST", "PRI", "M-SEARCH", "",
]  # fmt: skip
PATHS = [
    "/", "/ping", "/ping/echo", "/ping/nobody", "/predictions/echo", "/predictions/echo/1.0", "/explanations/echo",
    "/predictions/echo/9", "/predictions", "/predictions/", "/feedback", "/models", "/models/echo", "/metrics",
    "/workflows", "/errors/400", "/unhealthy.json", "/ping/all/healthy.json", "/models/echo/1.0/set-default", "*",
    "/api-description", "http://localhost/ping", "http://evil/ping", "/predictions/echo?x=1", "/models?url=t",
    "/%2e%2e/", "/..", "/predictions/%65cho", "/predictions/ech%ff", "/predictions/echo;a", "/p\xff", "//ping", "/-",
    "/%", "/%00", "/predictions/" + "a" * 4000, "/" + "b" * 9000, "/models?" + "c" * 4000, "",
]  # fmt: skip
VERSIONS = ["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "http/1.1", ""]
HEADERS = {
    "Host": ["localhost", "127.0.0.1:1", "[::1]", "evil.example", "", "a b", "localhost:99999999", "\xff"],
    "Content-Length": ["0", "2", "5", "-1", "9" * 20, "1 ", "0x2", "9999999", "2, 2"],
    "Transfer-Encoding": ["chunked", "gzip", "chunked, chunked", "identity", "Chunked"],
    "Content-Type": [
        "application/json", "application/x-npy", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a",
        "text/plain", "", "application/json;;;", "\xff",
    ],
    "Content-Encoding": ["gzip", "identity", ""],
    "Authorization": [f"Bearer {TOKEN}", f"bearer {TOKEN}", "Bearer x", "Basic a", "Bearer " + "x" * 300],
    "Origin": ["http://evil", "null", "http://localhost"],
    "X-Request-Id": ["a", "a b", "\xff" * 5, "x" * 200],
    "X-Session-Id": ["s", "\xff\xfe", "x" * 5000, "\x1b[2J"],
    "Expect": ["100-continue", "nonsense"],
    "Range": ["bytes=0-1"],
    "If-Modified-Since": ["Thu, 26 Nov 2026 15:26:50 GMT", "x"],
    "If-None-Match": ["*"],
    "Upgrade": ["h2c", "websocket"],
    "X-Long": ["x" * 9000],
    "bad header": ["x"],
    "": ["x"],
    "X-Source": ["feedback-1"],
    "X-Picked": ["0"],
}  # fmt: skip
BODIES = [b"", b"{}", b"[1]", b"2\r\n{}\r\n0\r\n\r\n", b"XYZ\r\n", b"5\r\n{}", b"\x93NUMPY", b"a=&" * 100]
# 408 and 499 close without an answer; 5xx that the gateway gives of itself, without anything behind it being ill.
DOCUMENTED = {200, 400, 401, 403, 404, 405, 413, 415, 421, 429, 431, 501, 503, 505}


def request_of(seed: int) -> tuple[bytes, bool]:
    """Make a request, and say whether it is for the management port."""
    chance = random.Random(seed)
    sent = [f"{chance.choice(METHODS)} {chance.choice(PATHS)} {chance.choice(VERSIONS)}"]
    names = [name for name in HEADERS if chance.random() < 0.15]
    if chance.random() < 0.8 and "Host" not in names:
        sent.append("Host: localhost")
    if chance.random() < 0.5:
        sent.append(f"Authorization: Bearer {TOKEN}")
    sent += [f"{name}: {chance.choice(HEADERS[name])}" for name in names]
    body = chance.choice(BODIES)
    if chance.random() < 0.5:
        sent.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*sent, "Connection: close", "", ""]).encode("latin-1") + body, chance.random() < 0.4


def fault_of(gateway: Front, seed: int) -> str:
    """Send a request; return what is wrong with its answer."""
    request, management = request_of(seed)
    try:
        answer = gateway.exchange(request, management)
    except (TimeoutError, ConnectionError) as error:
        return "" if isinstance(error, ConnectionError) else f"{seed}: no end of the answer to {request[:300]!r}"
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    told = f"{seed}: {request[:300]!r} got {answer[:300]!r}"
    if status is None:  # to HTTP/0.9 a body alone; or nothing: 408
        head, body = b"HTTP/0.9", answer
    if b"x-behind" in head.lower():
        return ""
    if status is not None and int(status[1]) not in DOCUMENTED:
        return told
    try:
        json.loads(body or b"{}")  # nothing follows HEAD
    except ValueError:
        # The one page of nginx's own that is left (docs/SERVING.md, Limits).
        chunked = b"chunked" in request.lower() and re.search(rb"/(predictions|explanations)/", request)
        return "" if chunked and b" 400 " in head else told
    return ""


def test_whatever_comes_gets_a_documented_answer_in_json_and_a_line_of_json(tmp_path: Path) -> None:
    with front(tmp_path, body_timeout_s=0.5) as gateway:
        with ThreadPoolExecutor(8) as pool:
            faults = [fault for fault in pool.map(lambda seed: fault_of(gateway, seed), range(COUNT)) if fault]
        assert faults == []
        gateway.client.get("/nowhere", headers={"X-Request-Id": "last"})
        gateway.line("last")  # all before it were read
        for line in (gateway.settings.log_dir / "management.jsonl").read_bytes().splitlines():
            json.loads(line)

"""The gateway alone: real nginx, as the supervisor configures it, before sockets that tell what reached them."""

import contextlib
import json
import signal
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx

from marina.serving.gateway import Gateway, own_url
from marina.serving.run_dir import RunDir
from marina.serving.traffic_routes import Routes
from marina.settings import Settings
from tests.serving import free_ports

RAISED = 503
BUSY = 429
TOKEN = "a-management-token-for-tests"
CLIENT, OTHER, LABELLER = "a-token-of-a-client", "a-token-of-another", "a-token-of-a-labeller"
JSON = {"Content-Type": "application/json"}
POST = b"POST /predictions/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
LABELS = POST.replace(b"/predictions/echo", b"/feedback") + b"Content-Type: application/json\r\n"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Front:
    """A gateway with echo 1.0 open behind it."""

    settings: Settings
    nginx: Gateway
    client: httpx.Client
    management: httpx.Client
    run_dir: Path
    asked: Counter[tuple[str, str]]  # how often what is behind it was asked, by request id and version

    @property
    def routes(self) -> Routes:
        """Its versions and shares."""
        return self.nginx.routes

    def line(self, request_id: str, log: str = "access.jsonl") -> dict[str, Any]:
        """Find a request's line; nginx writes them once a second."""
        for _ in range(100):
            for line in (self.settings.log_dir / log).read_bytes().splitlines():
                said: dict[str, Any] = json.loads(line)  # every line is JSON in UTF-8, or this raises
                if said["id"] == request_id:
                    return said
            time.sleep(0.05)
        raise AssertionError(f"no line of {request_id} in {log}")

    def exchange(self, request: bytes, management: bool = False) -> bytes:
        """Send bytes as they are; return everything until the gateway closes."""
        port = self.settings.management_port if management else self.settings.inference_port
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def front(
    folder: Path, *, behind: Sequence[str] = ("inference", "management", "changes", "events"), **overrides: Any
) -> Iterator[Front]:
    """Run the gateway in `folder`, with settings by their names and before these sockets, until the block ends."""
    inference, management, metrics = free_ports(3)
    ports = {"inference_port": inference, "management_port": management, "metrics_port": metrics}
    settings = Settings.model_validate({"state_dir": folder / "state", **ports, **overrides})
    settings.log_dir.mkdir(parents=True)
    run_dir = RunDir(folder / "run")
    run_dir.path.mkdir(parents=True)
    gateway = Gateway(settings, TOKEN, run_dir)
    gateway.routes.open("echo", "1.0")
    gateway.routes.share("echo", [("1.0", 1)])
    tls = settings.tls_certificate
    verify = True if tls is None else ssl.create_default_context(cafile=tls)
    with contextlib.ExitStack() as stack:
        asked = {name: stack.enter_context(_behind(run_dir.path / f"{name}.sock")) for name in behind}
        gateway.configure()
        gateway.start()
        stack.callback(_end, gateway)
        clients = [
            stack.enter_context(httpx.Client(base_url=own_url(settings, host, port), timeout=30, verify=verify))
            for host, port in ((settings.host, inference), (settings.management_host, management))
        ]
        _wait("::1" if ":" in settings.host else "127.0.0.1", inference)
        yield Front(settings, gateway, clients[0], clients[1], run_dir.path, asked.get("inference", Counter()))


def _wait(host: str, port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((host, port)):
            return
        time.sleep(0.05)
    raise AssertionError("nginx does not come up")


def _end(gateway: Gateway) -> None:
    gateway.signal(signal.SIGTERM)
    assert gateway.process is not None
    gateway.process.wait(30)


class _Tell(BaseHTTPRequestHandler):
    """Answers with what reached it, or as the header X-TTA, which passes the gateway, wishes.

    That is for each version, and each time it is asked (the last wish goes on): a status, or seconds of silence and a
    status, ``{"2.0": [507, [1.5, 200]]}``; a text, which is 503 with that as the header X-Expired; or an object, which
    is 200 with those headers. The answer is so
    many bytes longer as X-Top-K says, which passes too. Labels wish for a status as ``{"wish": 429}``.
    """

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        version = self.path.rpartition("/")[2]
        wished = json.loads(self.headers.get("X-TTA") or "{}")  # true and false are no wishes
        wishes = wished.get(version, [200]) if isinstance(wished, dict) else [200]
        asked: Counter[tuple[str, str]] = self.server.asked  # type: ignore[attr-defined]
        key = (self.headers.get("X-Request-Id", ""), version)
        wish = wishes[min(asked[key], len(wishes) - 1)]
        asked[key] += 1
        if body.startswith(b'{"wish"'):
            wish = json.loads(body)["wish"]
        headers, wish = (wish, 200) if isinstance(wish, dict) else ({}, wish)
        silence_s, status = wish if isinstance(wish, list) else (0, wish)
        time.sleep(silence_s)
        told: dict[str, Any] = {
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers),
            "bytes": len(body),
        }
        told["more"] = "x" * int(self.headers.get("X-Top-K") or 0)
        expired, status = (status, 503) if isinstance(status, str) else ("", status)
        # TorchServe's answer of a handler that raised is told by its length.
        content = b"x" * 107 if status == RAISED and not expired else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Behind", "1")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == BUSY:
            self.send_header("Retry-After", "10")
        if expired:
            self.send_header("X-Expired", expired)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        """Answer every method alike; http.server looks for `do_GET` and its kin."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Behind(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, place: str) -> None:
        super().__init__(place, _Tell)
        self.asked: Counter[tuple[str, str]] = Counter()


@contextlib.contextmanager
def _behind(place: Path) -> Iterator[Counter[tuple[str, str]]]:
    # By a short name: the folder's may be longer than a socket's address.
    with contextlib.chdir(place.parent):
        server = _Behind(place.name)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

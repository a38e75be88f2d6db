"""The supervisor's link with the controller beside it: a socket in the run folder.

The supervisor does not touch the database while it serves: whatever a database does that hangs, is locked or is damaged
happens to another process. What should run comes by this link, and what does run is answered.

A retreat comes by it too, before it is written to the database: so no writer holds up the way from a verdict to the
gateway. A thread of its own takes it and changes the routes at once, whatever the supervisor is busy with. See
`marina.serving.traffic_routes.Routes.withhold` for how long it holds.

Each connection carries one line of JSON and one in answer::

    {"declared": [...]}                                what should run: `marina.releases.declarations.as_json`
    {"retreat": {"model", "canary", "stable"}}         the canary's share is stable's from now on
    {"replica": "..."}                                 the name that the database knows this server by
    {"upgraded": true}                                 the database has its tables
    {"told": "..."}                                    for the operator

    {"runs": [...], "upgraded": true}                  always: what runs, as `marina.database.tables.REPLICAS` has it
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marina.processes.console import log
from marina.processes.guard import Guard
from marina.releases.declarations import Declared, as_json, from_json
from marina.serving.traffic_routes import Routes

PATIENCE_S = 2.0
LONGEST_BYTES = 16 * 1024 * 1024


class ControlError(ConnectionError):
    """The other end did not answer; the message says what came instead."""


class ControlClient:
    """The controller's end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def follow(self, declared: list[Declared]) -> dict[str, Any]:
        """Say what should run; return the answer.

        Raises
        ------
        ControlError
            When there is none.
        """
        return self.request({"declared": as_json(declared)})

    def retreat(self, model: str, canary: str, stable: str) -> None:
        """Give a canary's share to stable at once.

        Raises
        ------
        ControlError
            When it is not known whether that was done.
        """
        self.request({"retreat": {"model": model, "canary": canary, "stable": stable}})

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one message; return the answer.

        Raises
        ------
        ControlError
            When there is none.
        """
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE_S)
                line.connect(str(self._path))
                line.sendall(json.dumps(message).encode() + b"\n")
                answer: dict[str, Any] = json.loads(_line(line))
        except (OSError, ValueError) as error:
            raise ControlError(f"the supervisor does not answer ({error})") from error
        if "fault" in answer:
            raise ControlError(f"the supervisor could not do it ({answer['fault']})")
        return answer


class ControlServer:
    """The supervisor's end.

    Parameters
    ----------
    path
        The socket.
    routes
        What a retreat changes.
    wake
        Called when something has come that the supervisor's loop has to look at.
    guard
        Says what goes wrong.

    Attributes
    ----------
    declared
        What should run, as it was heard last; None before that.
    replica
        The name by which the database knows this server; empty until it is another than the settings'.
    upgraded
        Whether the database has its tables.
    runs
        What runs, for the answers.
    """

    def __init__(self, path: Path, routes: Routes, wake: Callable[[], None], guard: Guard) -> None:
        self.declared: list[Declared] | None = None
        self.replica = ""
        self.upgraded = False
        self.runs: list[dict[str, object]] = []
        self._routes = routes
        self._wake = wake
        self._guard = guard
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(16)
        threading.Thread(target=self._answer, name="link", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer(self) -> None:
        while not self._closed:
            try:
                line, _ = self._socket.accept()
            except OSError:  # it is closed; or no more files can be opened just now
                time.sleep(0.1)
                continue
            with line, self._guard.part("answering the controller"):
                line.settimeout(PATIENCE_S)
                message = json.loads(_line(line))
                answer: dict[str, object] = {}
                try:
                    self._take(message)
                    answer = {"runs": self.runs, "upgraded": self.upgraded}
                except Exception as error:
                    answer = {"fault": repr(error)}
                    raise
                finally:
                    line.sendall(json.dumps(answer).encode() + b"\n")

    def _take(self, message: dict[str, Any]) -> None:
        if "retreat" in message:
            self._routes.withhold(**message["retreat"])
            self._wake()
        if "declared" in message:
            declared = from_json(message["declared"])
            if declared != self.declared:
                self.declared = declared
                self._wake()
            self._routes.expire_withheld()
        if "replica" in message:
            self.replica = str(message["replica"])
        if message.get("upgraded"):
            self.upgraded = True
        if "told" in message:
            log(message["told"])


def _line(line: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        more = line.recv(65536)
        if not more or len(received) > LONGEST_BYTES:
            raise ValueError(f"a line was expected, {len(received)} bytes without an end came")
        received += more
    return received

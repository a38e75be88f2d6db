"""The archive that server tests serve: it answers with what it saw, and misbehaves on demand."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from marina.serving import temporary_server
from marina.serving.stub_archive import EMPTY, build_stub
from marina.serving.temporary_server import Server, free_ports
from marina.settings import ROOT

__all__ = ["EMPTY", "PREDICTS", "ROOT", "Server", "archive", "free_ports", "manage", "running"]

ECHO = '''
import json
import os
import signal
import time


class Echo:
    """Answers with what it saw; a JSON body may ask it to misbehave."""

    def initialize(self, context):
        self.config = context.model_yaml_config["handler"]
        if self.config.get("refuse"):
            raise ValueError(self.config["refuse"])
        time.sleep(self.config.get("load_s", 0))

    def handle(self, data, context):
        wishes = [self._wish(one["body"]) for one in data]
        for wish in wishes:
            if "kill" in wish and (wish["kill"] == "always" or self._first(wish["kill"])):
                os.kill(os.getpid(), getattr(signal, wish.get("signal", "SIGKILL")))
                time.sleep(60)
            if "raise" in wish:
                raise ValueError(wish["raise"])
            if "hang" in wish and self._first(wish["hang"]):
                time.sleep(3600)
        for _ in range(max(wish.get("naps", 1) for wish in wishes)):
            time.sleep(max(wish.get("sleep_s", 0) for wish in wishes))
        answers = []
        for index, wish in enumerate(wishes):
            context.set_response_content_type(index, "application/json")
            if "status" in wish:
                context.set_response_status(wish["status"], "", index)
            ident = context.get_request_header(index, "X-Request-Id")
            if "record" in wish:
                with open(wish["record"], "a") as file:
                    file.write(ident + "\\n")
            answers.append(json.dumps({
                "request_id": ident,
                "pid": os.getpid(),
                "batch": len(data),
                "version": context.manifest["model"]["modelVersion"],
                "bytes": len(data[index]["body"]),
                "content_type": context.get_request_header(index, "Content-Type"),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "secrets": sorted(name for name in os.environ if "TOKEN" in name or "SECRET" in name),
            }).encode())
        return answers

    def _wish(self, body):
        try:
            wish = json.loads(bytes(body[:4096]))
        except ValueError:
            return {}
        return wish if isinstance(wish, dict) else {}

    def _first(self, marker):
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True
'''


PREDICTS: dict[str, str | int | float] = {"interfaces": "[]"}
"""Settings of a server that only predicts: three processes fewer, of which most tests ask nothing."""


def running(
    archives: Sequence[Path], settings_overrides: Mapping[str, str | int | float] | None = None, **options: Any
) -> AbstractContextManager[Server]:
    """Run a server as `temporary_server.running` does; handlers may write where pytest puts its folders."""
    places = json.dumps(sorted({str(path.resolve().parent.parent) for path in archives}))
    return temporary_server.running(archives, {"worker_paths": places, **(settings_overrides or {})}, **options)


def manage(server: Server, method: str, path: str) -> httpx.Response:
    """Call a server's management API; for as long as that is starting, again."""
    end = time.monotonic() + 60
    while True:
        answer = httpx.request(method, server.management_url + path, headers=server.authorization, timeout=120)
        if answer.status_code != 503 or time.monotonic() > end:
            return answer
        time.sleep(0.2)


def archive(
    folder: Path,
    model: str = "echo",
    version: str = "1.0",
    code: str = ECHO,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Build a tiny archive around a handler's source code."""
    return build_stub(folder, model, version, code, config)

"""Load every model of the store, or some, each with its archive's own example; shows which versions answered.

Example
-------
    .venv/bin/locust --locustfile tests/load/every_model.py --headless --users 32 --spawn-rate 32 --run-time 30s \
        --host http://127.0.0.1:8080
    … --models catalog,code_risk          # some of them; during a release, the shares of its versions are printed

Every user is one session and one model: it stays on one version, as a client does.
"""

import random
import uuid
from argparse import ArgumentParser
from collections import Counter
from typing import ClassVar

import gevent
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from archives.archive import open_archive
from archives.store import newest
from marina.settings import read_settings

ANSWERED: Counter[tuple[str, str]] = Counter()
"""Answers by model and version."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust is read without its types
def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--models", default="", help="names with commas between them (default: all of the store)")


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust is read without its types
def _read_examples(environment: Environment, **_: object) -> None:
    """Read the examples once.

    Raises
    ------
    SystemExit
        When a model is not in the store.
    """
    settings = read_settings()
    stored = {one.model: one.path for one in newest(settings.archive_store)}
    wanted = [name for name in environment.parsed_options.models.split(",") if name] or sorted(stored)
    if unknown := sorted(set(wanted) - set(stored)):
        raise SystemExit(
            f"not in {settings.archive_store}: {', '.join(unknown)}; there are {', '.join(sorted(stored))}"
        )
    ModelUser.examples = [(name, bytes(open_archive(stored[name]).members["example.json"])) for name in wanted]
    tokens = settings.inference_tokens
    gevent.get_hub().loop.update_now()  # it stood still during the imports, and time limits start from it
    ModelUser.authorization = {"Authorization": f"Bearer {tokens[0].get_secret_value()}"} if tokens else {}


class ModelUser(FastHttpUser):  # type: ignore[misc]  # locust is read without its types
    """Sends one model's example again and again, in a session of its own."""

    wait_time = constant(0)
    examples: ClassVar[list[tuple[str, bytes]]] = []
    authorization: ClassVar[dict[str, str]] = {}

    def on_start(self) -> None:
        """Choose a model."""
        self.model, self.body = random.choice(self.examples)
        self.headers = {"Content-Type": "application/json", "X-Session-Id": uuid.uuid4().hex, **self.authorization}

    @task  # type: ignore[untyped-decorator]  # locust is read without its types
    def predict(self) -> None:
        """Ask for one prediction; anything but 200 is a failure."""
        with self.client.post(
            f"/predictions/{self.model}", data=self.body, headers=self.headers, catch_response=True
        ) as response:
            if response.status_code == 200:
                ANSWERED[self.model, response.headers.get("X-Model-Version", "")] += 1


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust is read without its types
def _say_who_answered(**_: object) -> None:
    totals: Counter[str] = Counter()
    for (model, _version), count in ANSWERED.items():
        totals[model] += count
    for (model, version), count in sorted(ANSWERED.items()):
        print(f"{model} {version}: {count} answers, {100 * count / totals[model]:.1f} %", flush=True)

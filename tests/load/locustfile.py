"""Load a running server with two kinds of users: one sends arrays, the other JSON.

Example
-------
    make serve        # in one terminal
    make load         # in another: 16 users for 30 s, then load-report.html

Prints requests per second, p50, p95, p99 and errors, and at the end the in-process limit: the same graph, called in
a loop on the same cores by benchmarks/throughput.py.
"""

import subprocess
import sys

from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from benchmarks.throughput import body_of, sequence
from handlers.decoding import JSON, NPY
from marina.settings import read_settings

FRAMES = 64


class SignUser(FastHttpUser):  # type: ignore[misc]  # locust is read without its types
    """Sends one sequence after the other over one connection."""

    abstract = True
    wait_time = constant(0)
    content_type: str

    def on_start(self) -> None:
        """Make a few different bodies once: making them must not count as load."""
        kind = "npy" if self.content_type == NPY else "json"
        self.bodies = [body_of(kind, sequence(FRAMES, seed)) for seed in range(8)]
        self.sent = 0
        tokens = read_settings().inference_tokens
        self.authorization = {"Authorization": f"Bearer {tokens[0].get_secret_value()}"} if tokens else {}

    @task  # type: ignore[untyped-decorator]  # locust is read without its types
    def predict(self) -> None:
        """Ask for one prediction, and check that it is one."""
        self.sent += 1
        with self.client.post(
            "/predictions/signflow",
            data=self.bodies[self.sent % len(self.bodies)],
            headers={"Content-Type": self.content_type, **self.authorization},
            name=f"/predictions/signflow ({self.content_type})",
            catch_response=True,
        ) as response:
            if response.status_code == 200 and not response.json()["predictions"]:
                response.failure("an answer without predictions")


class ArrayUser(SignUser):
    """Sends float32 arrays."""

    content_type = NPY
    weight = 1


class JsonUser(SignUser):
    """Sends the same sequences as JSON."""

    content_type = JSON
    weight = 1


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust is read without its types
def compare(environment: Environment, **_: object) -> None:
    """Say how much of the in-process limit was served."""
    total = environment.stats.total
    if not total.num_requests:
        return
    rate = total.total_rps  # taken now: it falls while the limit is measured
    print(
        f"served {rate:.1f}/s, p50 {total.get_response_time_percentile(0.5)} ms, "
        f"p95 {total.get_response_time_percentile(0.95)} ms, p99 {total.get_response_time_percentile(0.99)} ms, "
        f"{total.num_failures} errors; against the in-process limit:",
        flush=True,
    )
    command = [sys.executable, "-m", "benchmarks.throughput", "--mode", "limit", "--seconds", "4"]
    # A process of its own: gevent has patched this one.
    subprocess.run([*command, "--served", f"{rate:.1f}"], check=True)

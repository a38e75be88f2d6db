"""An archive's own example, sent to one version past the gateway: whether it answers, and how quickly."""

import time
from pathlib import Path

import httpx

from marina.releases.declarations import Declared
from marina.serving.version_events import ExampleAsked

MOST_REQUESTS, ASKED_FOR_S = 4, 0.3  # how often, and for how long, a worker is asked to see how quick it is
LONGEST_S = 10.0  # that an answer is waited for: everything else waits meanwhile


def ask_example(socket: Path, declared: Declared, request_timeout_s: float) -> ExampleAsked:
    """Send a version its own example a few times, one request after the other.

    Parameters
    ----------
    socket
        Where TorchServe answers predictions.
    request_timeout_s
        Time limit of a request.
    """
    transport = httpx.HTTPTransport(uds=str(socket), verify=False)
    headers = {"Content-Type": "application/json", "X-Request-Id": "warm-up", "X-Shadow": "1"}
    url = f"http://torchserve/predictions/{declared.model}/{declared.version}"
    quickest_s = None
    try:
        with httpx.Client(transport=transport, timeout=min(LONGEST_S, request_timeout_s / 3)) as client:
            end = time.monotonic() + ASKED_FOR_S
            for _ in range(MOST_REQUESTS):  # the first is slow because it is the first
                answer = client.post(url, content=declared.example, headers=headers)
                if answer.is_server_error:
                    return ExampleAsked(f"{answer.status_code} {answer.text[:200]}", quickest_s)
                elapsed_s = answer.elapsed.total_seconds()
                quickest_s = elapsed_s if quickest_s is None else min(quickest_s, elapsed_s)
                if time.monotonic() > end:
                    break
    except httpx.TransportError as error:
        return ExampleAsked(f"none ({error!r})", quickest_s)
    return ExampleAsked("", quickest_s)

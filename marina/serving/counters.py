"""What TorchServe and the gateway count, read by the supervisor: requests that came to each version, and refusals."""

import os
import re
from collections import Counter
from pathlib import Path

import httpx

ARRIVED = re.compile(r'^ts_inference_requests_total\{model_name="([^"]*)",model_version="([^"]*)".*\} (\S+)$', re.M)
MOST_READ_BYTES = 1_000_000

Key = tuple[str, str]
"""Model and version."""


class TrafficCounters:
    """The counts of one server.

    Parameters
    ----------
    metrics_socket
        Where TorchServe gives its metrics.
    refusals
        The file into which the gateway writes a line, ``MODEL/VERSION``, for each request beyond its version's limit.
    """

    def __init__(self, metrics_socket: Path, refusals: Path) -> None:
        self._refusals = refusals
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(metrics_socket), verify=False),
            base_url="http://torchserve",
            timeout=2.0,
        )

    def arrived(self) -> dict[Key, float]:
        """Return how many requests came to each version since TorchServe started; nothing if it does not say."""
        try:
            text = self._http.get("/metrics").text
        except httpx.TransportError:
            return {}
        return {(model, version): float(count) for model, version, count in ARRIVED.findall(text)}

    def refused(self) -> Counter[Key]:
        """Return how many requests were refused since the last call, as far as they were counted."""
        try:
            with self._refusals.open("r+b") as file:
                lines = file.read(MOST_READ_BYTES).decode(errors="replace").splitlines()
                os.truncate(file.fileno(), 0)  # nginx appends
        except OSError:
            return Counter()
        found = (line.rpartition("/") for line in lines)
        return Counter((model, version) for model, slash, version in found if slash)

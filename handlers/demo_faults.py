"""Handlers that are faulty on purpose, to rehearse a rollback: `make demo` releases a version with each."""

import time
import zlib
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from handlers.catalog import CatalogHandler, Listing

DELAY_S = 0.08

FAILING_PERCENT = 3


class SlowCatalogHandler(CatalogHandler):
    """Takes 80 ms longer for every forward pass, as code does that waits for another service."""

    def prepare(self, items: Sequence[Listing]) -> dict[str, NDArray[Any]]:
        """Wait, then prepare."""
        time.sleep(DELAY_S)
        return super().prepare(items)


class FailingCatalogHandler(CatalogHandler):
    """Raises on 3 % of the requests with instances, always on the same, as a parser does that trips over some texts."""

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Listing]:
        """Raise, or decode."""
        if zlib.crc32(str(instances[0].get("designation")).encode()) % 100 < FAILING_PERCENT:
            raise RuntimeError("this version fails on purpose")
        return super().decode_instances(instances)

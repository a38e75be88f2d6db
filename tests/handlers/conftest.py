from collections.abc import Iterator

import pytest

from tests.handlers import every


@pytest.fixture(scope="session", autouse=True)
def _swept() -> Iterator[None]:
    """Leave nothing of the families' archives behind."""
    yield
    every.sweep()

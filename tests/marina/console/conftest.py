from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.marina.console.browser import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console on an SQLite database."""
    made = Console(tmp_path)
    yield made
    made.database.close()

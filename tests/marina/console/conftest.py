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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console for all tests of a module that only look, or are refused: none of them may change it."""
    made = Console(tmp_path_factory.mktemp("console"))
    yield made
    made.database.close()

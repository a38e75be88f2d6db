from pathlib import Path

import pytest

from tests.families.signflow import made_up
from training.archive import build
from training.signflow import Trained
from training.signflow_release import release


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small network with random weights."""
    return made_up()


@pytest.fixture(scope="session")
def signflow_archive(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built archive, signflow 1.0."""
    return build(release(trained, "1.0"), tmp_path_factory.mktemp("store")).path

from pathlib import Path

import numpy as np
import pytest
import torch

from models.signflow.network import SignFlow, configure
from tests.signflow import frames_of
from training.archive import build
from training.signflow import Trained
from training.signflow_release import release


def made_up(size: str = "small") -> Trained:
    """Return a network as training would hand it over; its weights are random, which no test of the path minds."""
    torch.manual_seed(0)
    config = configure(size, 32)
    golden = [frames_of(length, seed=length) for length in (1, 2, 30, 64, 64, 90, 200)]
    golden[2][:, 99:162] = 0  # a missing left hand
    golden[3][5:9] = np.nan  # lost frames
    return Trained(
        model=SignFlow(config).eval(),
        config=config,
        labels=tuple(f"sign_{index:02d}" for index in range(32)),
        golden=golden,
        reference=golden,
        reference_labels=np.arange(len(golden)),
        metrics={"accuracy": 0.03},
        params={"size": size},
        data_manifest_sha256="0" * 64,
        mlflow_run_id="none",
    )


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small network with random weights."""
    return made_up()


@pytest.fixture(scope="session")
def signflow_archive(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built archive, signflow 1.0."""
    return build(release(trained, "1.0"), tmp_path_factory.mktemp("store")).path

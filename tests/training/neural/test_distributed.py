import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from archives.tracking_store import quiet
from tests.training.neural.team_run import EXACT, ROUNDED, train
from training.neural import checkpoint
from training.neural.distributed import Team, joined
from training.signflow.fit import Recipe

ROOT = Path(__file__).resolve().parents[3]
sizes = st.integers(1, 6)


def torchrun(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind, of which the second was once killed."""
    place = tmp_path_factory.mktemp("team")
    told = torchrun("--max-restarts", "1", "-m", "tests.training.neural.team_run", str(place))
    assert told.returncode == 0, told.stderr
    return place


def equal(one: Path, other: Path) -> bool:
    (weights, note), (others, noted) = checkpoint.read(one), checkpoint.read(other)
    return note == noted and all(torch.equal(weights[name], others[name]) for name in weights)


@given(st.integers(1, 70), sizes)
def test_parts_divide_a_batch_and_weigh_as_much_as_it(count: int, size: int) -> None:
    parts = [Team(rank, size).part(count) for rank in range(size)]
    rows = np.concatenate([rows for rows, weight in parts if weight])
    assert sorted(rows.tolist()) == list(range(count))
    losses = np.random.default_rng(count).random(count)
    mean = np.mean([weight * losses[rows].mean() for rows, weight in parts])
    assert mean == pytest.approx(losses.mean())


@given(st.integers(1, 70), sizes)
def test_a_part_reversed_pairs_the_rows_that_the_batch_reversed_pairs(count: int, size: int) -> None:
    for rank in range(size):
        rows, weight = Team(rank, size).part(count)
        if weight:
            assert (rows[::-1] == count - 1 - rows).all()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As each of the two processes has."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.mark.parametrize(("run", "recipe", "tolerance"), [("exact", EXACT, 1e-5), ("rounded", ROUNDED, 1e-2)])
def test_two_processes_step_as_one_does(
    one_thread: None, folder: Path, tmp_path: Path, run: str, recipe: Recipe, tolerance: float
) -> None:
    train(recipe, tmp_path / "alone")
    alone, note = checkpoint.read(tmp_path / "alone")
    together, noted = checkpoint.read(folder / f"{run}-0")
    assert [e["loss"] for e in noted["history"]] == pytest.approx([e["loss"] for e in note["history"]], rel=tolerance)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=10 * tolerance, rtol=10 * tolerance, msg=name)


@pytest.mark.parametrize("run", ["exact", "rounded", "whole", "killed"])
def test_every_process_ends_with_the_same_weights_and_history(folder: Path, run: str) -> None:
    assert equal(folder / f"{run}-0", folder / f"{run}-1")


def test_processes_started_anew_after_one_was_killed_end_with_the_very_same_weights(folder: Path) -> None:
    assert (folder / "restarts-0").read_text() == "1"
    assert equal(folder / "killed-0", folder / "whole-0")


def test_without_torchrun_a_process_is_alone() -> None:
    with joined("cpu") as team:
        assert (team.rank, team.size, team.first) == (0, 1, True)


def test_the_command_of_a_family_trains_once_in_several_processes(tmp_path: Path) -> None:
    few = ["--signs", "2", "--signers", "6", "--takes", "2", "--epochs", "1", "--no-archive"]
    told = torchrun("-m", "training.signflow.recipe", *few, MARINA_STATE_DIR=str(tmp_path))
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("epoch 1/1") == 2  # of the evaluated fit, and of what ships
    assert told.stdout.count("unseen signers") == 1
    with quiet():
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("signflow").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert list((tmp_path / "checkpoints").iterdir()) == []

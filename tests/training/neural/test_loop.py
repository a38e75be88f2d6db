import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from training.neural.checkpoint import CheckpointError
from training.neural.loop import Fitted, fit, learning_rate, seed_everything
from training.neural.schedule import Epoch, Schedule

Batch = tuple[torch.Tensor, torch.Tensor]

SCHEDULE = Schedule(epochs=6, learning_rate=0.05, swa=0.5, seed=3)
STEPS = 4


class Killed(Exception):
    pass


def network() -> nn.Module:
    seed_everything(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


def batches(number: int, rng: np.random.Generator) -> Iterator[Batch]:
    for _ in range(STEPS):
        x = torch.from_numpy(rng.normal(size=(32, 8))).float()
        yield x, (x[:, 0] > 0).long()


def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def score(model: nn.Module) -> dict[str, float]:
    seed_everything(99)
    x = torch.randn(200, 8)
    return {"accuracy": float((model(x).argmax(1) == (x[:, 0] > 0)).float().mean())}


def run(
    schedule: Schedule = SCHEDULE, scoring: Callable[[nn.Module], Mapping[str, float]] | None = score, **more: Any
) -> tuple[nn.Module, Fitted]:
    model = network()
    return model, fit(model, batches, objective, schedule, STEPS, score=scoring, **more)


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns() -> None:
    _, fitted = run()
    assert fitted.score > 0.85
    assert fitted.history[-1].loss < fitted.history[0].loss


def test_equal_seeds_give_equal_weights() -> None:
    assert equal(run()[1].weights, run()[1].weights)


def test_another_seed_gives_other_weights() -> None:
    assert not equal(run()[1].weights, run(Schedule(epochs=6, learning_rate=0.05, seed=4))[1].weights)


@pytest.mark.parametrize("after", [1, 4, 5])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, after: int) -> None:
    def kill(epoch: Epoch) -> None:
        if epoch.number == after + 1:
            raise Killed

    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        run(on_epoch=kill, resume=path)
    seen = []
    _, resumed = run(on_epoch=lambda epoch: seen.append(epoch.number), resume=path)
    _, whole = run()
    assert equal(resumed.weights, whole.weights)
    assert resumed.history == whole.history
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    run(resume=path)
    with pytest.raises(CheckpointError, match="schedule differ"):
        run(Schedule(epochs=7), resume=path)


def test_the_model_is_left_with_the_weights_that_serve() -> None:
    model, fitted = run()
    assert not model.training
    assert equal(model.state_dict(), fitted.weights)
    assert score(model)["accuracy"] == fitted.score


def test_averaged_weights_serve_when_they_score_better() -> None:
    calls = []

    def rising_only_at_the_end(model: nn.Module) -> dict[str, float]:
        calls.append(1)
        return {"accuracy": 1.0 if len(calls) > SCHEDULE.epochs else 0.5}

    assert run(scoring=rising_only_at_the_end)[1].kind == "swa"


def test_it_stops_early_when_the_score_stays() -> None:
    schedule = Schedule(epochs=20, patience=2, swa=0.0)
    _, fitted = run(schedule, lambda model: {"accuracy": 0.5})
    assert len(fitted.history) == 3


def test_without_a_score_the_last_averaged_weights_serve() -> None:
    _, fitted = run(scoring=None)
    assert fitted.kind == "ema"
    assert len(fitted.history) == SCHEDULE.epochs


def test_a_loss_that_is_no_number_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="epoch 1"):
        fit(network(), batches, lambda model, batch: objective(model, batch) * math.nan, SCHEDULE, STEPS)


def test_the_rate_warms_up_to_its_peak_and_falls_to_one_percent() -> None:
    schedule = Schedule(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)

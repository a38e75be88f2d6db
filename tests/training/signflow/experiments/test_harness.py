import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import experiment as command
from training.signflow.experiments.harness import (
    Arm,
    Estimate,
    Outcome,
    differences,
    load,
    markdown,
    recipe,
    run,
    trained_at_cost,
)
from training.signflow.synthetic.signing import Synthesis

ARMS = [
    Arm("plain", lambda seed: {"accuracy": 0.5 + seed / 10}),
    Arm("new", lambda seed: {"accuracy": 0.7 + seed / 10}),
]


def test_interval_is_students() -> None:
    estimate = Estimate.of([0.1, 0.2, 0.3])
    assert estimate.mean == pytest.approx(0.2)
    assert estimate.half == pytest.approx(4.302652729911275 * 0.1 / math.sqrt(3))
    assert Estimate.of([0.4]) == Estimate(0.4, math.inf)


def test_seeds_pair_the_arms_of_the_table(tmp_path: Path) -> None:
    table = markdown(ARMS, run(ARMS, [0, 1, 2], tmp_path / "r.jsonl", print))
    assert "| new | 3 | 0.800 ± 0.248 | 0.200 ± 0.000 to plain |" in table  # the seeds differ, the difference does not


def test_what_was_not_measured_is_left_out_of_the_mean() -> None:
    outcomes = [Outcome("plain", seed, {"accuracy": 0.5, "s": s}) for seed, s in enumerate((math.nan, 2.0, 2.0))]
    assert "| plain | 3 | 0.500 ± 0.000 | 2.000 ± 0.000 |" in markdown(ARMS[:1], outcomes)
    assert "| plain | 1 | 0.500 | - |" in markdown(ARMS[:1], outcomes[:1])


def test_an_interrupted_experiment_goes_on_where_it_was(tmp_path: Path) -> None:
    file, done = tmp_path / "r.jsonl", []

    def counted(seed: int) -> dict[str, float]:
        done.append(seed)
        if seed == 1 and done.count(1) == 1:
            raise KeyboardInterrupt
        return {"accuracy": 0.5}

    arms = [Arm("plain", counted)]
    with pytest.raises(KeyboardInterrupt):
        run(arms, [0, 1], file, print)
    assert run(arms, [0, 1], file, print) == [Outcome("plain", seed, {"accuracy": 0.5}) for seed in (0, 1)]
    assert done == [0, 1, 1]


def test_outcomes_of_other_options_are_left_alone(tmp_path: Path) -> None:
    run(ARMS, [0], tmp_path / "r.jsonl", print, {"shown": 100})
    told: list[str] = []
    run(ARMS, [0], tmp_path / "r.jsonl", told.append, {"shown": 200})
    assert len(told) == len(ARMS)


def test_nobody_is_learned_from_and_tested_on() -> None:
    data = load("synthetic")
    tested = []
    for seed in range(4):
        train, test = data.unseen(seed)
        assert not {*train.signers.tolist()} & {*test.signers.tolist()}
        tested.append(test.signers)
    assert {*np.concatenate(tested).tolist()} == {*data.clips.signers.tolist()}


def test_command_prints_a_table_and_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["precision", "--seeds", "0", "--shown", "1", "--out", str(tmp_path)]) == 0
    assert "| bfloat16 | 1 | 0." in capsys.readouterr().out
    assert (tmp_path / "precision-synthetic.png").read_bytes().startswith(b"\x89PNG")


def test_command_says_which_data_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["precision", "--data", str(tmp_path / "none.npz")]) == 1
    assert "none.npz" in capsys.readouterr().out


def test_a_network_is_trained_once_and_its_cost_is_kept_with_it(tmp_path: Path) -> None:
    data = load("synthetic", Synthesis(signs=2, signers=4, takes=1))
    how = recipe(data, data.clips, 0, shown=1)
    first, cost = trained_at_cost(data, 0, how, tmp_path)
    again, told = trained_at_cost(data, 0, how, tmp_path)
    assert told == cost > 0
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    assert len([*tmp_path.iterdir()]) == 1


def test_a_picture_of_differences_pairs_the_arms_by_seed(tmp_path: Path) -> None:
    drawn = differences(ARMS, run(ARMS, [0, 1, 2], tmp_path / "r.jsonl", print), "title")
    [axes] = drawn.axes
    dots = axes.lines[0].get_xdata()
    assert dots == pytest.approx([0.2, 0.2, 0.2])
    assert "accuracy gained over plain" in axes.get_xlabel()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new"]

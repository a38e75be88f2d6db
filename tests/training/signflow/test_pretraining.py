import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from archives.tracking_store import quiet
from models.signflow.landmarks import LEFT_HAND, LEFT_SHOULDER, MIRROR, RIGHT_HAND, RIGHT_SHOULDER
from models.signflow.network import SIZES, SignFlow
from models.signflow.sequences import pad
from scripts import pretrain as command
from scripts import train as train_command
from training.neural import checkpoint
from training.neural.checkpoint import CheckpointError
from training.neural.schedule import Epoch
from training.signflow.fit import Recipe, fit
from training.signflow.pretraining import (
    PRETRAINING,
    MaskedModelling,
    Masking,
    pretrain,
    save,
    start_from,
    typical_places,
    visible,
)
from training.signflow.recipe import TrainOptions, set_aside, train
from training.signflow.synthetic.signing import Synthesis, generate
from training.signflow.unlabelled import Unlabelled

TINY = replace(SIZES["small"], classes=1, dropout=0.0)
CLIPS = generate(Synthesis(signs=4, signers=8, takes=2))


def places(landmarks: torch.Tensor) -> torch.Tensor:
    return landmarks.reshape(*landmarks.shape[:2], 75, 3)


def brief(epochs: int) -> Recipe:
    return replace(PRETRAINING, batch_size=16, schedule=replace(PRETRAINING.schedule, epochs=epochs))


@pytest.fixture
def model() -> MaskedModelling:
    torch.manual_seed(0)
    network = SignFlow(TINY)
    return MaskedModelling(network, *typical_places(network, CLIPS.sequences), Masking()).eval()


@pytest.fixture
def batch() -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in pad(CLIPS.sequences[:6]))


def test_as_much_is_hidden_as_is_said_in_whole_spans_of_time() -> None:
    torch.manual_seed(0)
    keep = visible(400, 50, Masking(landmarks=0.15, frames=0.15, span=6))
    assert keep.shape == (75, 400, 50)
    whole = (keep == 0).all(0)  # (B, T): frames in which everything is hidden
    assert float(whole.float().mean()) == pytest.approx(0.15, abs=0.01)
    parts = (keep == 0).all(2)  # (75, B): landmarks hidden for the whole clip
    assert float(parts.float().mean()) == pytest.approx(0.15, abs=0.01)
    inner = whole[:, 1:-1]
    alone = inner & ~whole[:, :-2] & ~whole[:, 2:]
    assert not alone.any()  # a span may be cut by the clip's ends alone
    assert float((keep == 0).float().mean()) == pytest.approx(1 - 0.85**2, abs=0.01)


def test_the_encoder_cannot_tell_where_hidden_landmarks_were(
    model: MaskedModelling, batch: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    landmarks, lengths = batch
    seen = []
    read = model.network.read

    def noted(features: torch.Tensor, *rest: Any) -> Any:
        seen.append(features)
        return read(features, *rest)

    monkeypatch.setattr(model.network, "read", noted)
    keep = visible(len(lengths), landmarks.shape[1], Masking())
    keep *= keep[MIRROR]  # so that it is the same for those that the network mirrors
    # the frames of reference, told by the whole clip, and of the depth of a hand by its wrist
    keep[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HAND.start, RIGHT_HAND.start]] = 1
    monkeypatch.setattr("training.signflow.pretraining.visible", lambda *_: keep)
    shown = keep.permute(1, 2, 0).unsqueeze(3)  # (B, T, 75, 1)
    moved = places(landmarks).clone()
    moved += 0.05 * (moved != 0) * (1 - shown)
    loss, other = model(landmarks, lengths), model(moved.flatten(2), lengths)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)
    assert other != loss  # but it is asked for where they are now
    other_places = places(landmarks) + 0.05 * shown
    model(other_places.flatten(2), lengths)
    assert not torch.equal(seen[0], seen[2])


def test_what_the_tracker_missed_is_never_asked_for(model: MaskedModelling, batch: tuple[torch.Tensor, ...]) -> None:
    landmarks, lengths = batch
    points = places(landmarks).clone()
    points[:, :, LEFT_HAND] = 0
    points[:, :, RIGHT_HAND] = torch.nan
    losses = []
    for bias in (0.0, 9.0):
        model.head.bias.data.view(6, 75)[:, LEFT_HAND.start :] = bias
        torch.manual_seed(1)
        losses.append(model(points.flatten(2), lengths).item())
    assert losses[0] == losses[1]
    assert math.isfinite(losses[0])


def test_padding_is_never_asked_for(model: MaskedModelling, batch: tuple[torch.Tensor, ...]) -> None:
    landmarks, lengths = batch
    longer = torch.cat([landmarks, torch.ones(len(lengths), 7, 225)], 1)
    model.how = Masking(landmarks=1.0)
    torch.testing.assert_close(model(longer, lengths), model(landmarks, lengths))


def test_it_learns_and_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    unlabelled, file = Unlabelled.of(CLIPS), tmp_path / "part.safetensors"
    weights, fitted = pretrain(unlabelled, brief(4))
    losses = [epoch.loss for epoch in fitted.history]
    assert losses[-1] < 0.9 * losses[0]
    assert not any(name.startswith("classifier.") for name in weights)

    def interrupt(epoch: Epoch) -> None:
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(unlabelled, brief(4), checkpoint=file, on_epoch=interrupt)
    again, _ = pretrain(unlabelled, brief(4), checkpoint=file)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    file = tmp_path / "pretrained.safetensors"
    kept, _ = set_aside(CLIPS, 0)
    unlabelled = Unlabelled.of(CLIPS.select(kept))
    network = SignFlow(TINY)
    save(file, {name: v for name, v in network.state_dict().items() if "classifier" not in name}, "small", unlabelled)
    return file


def test_a_training_starts_from_the_encoder_and_from_a_classifier_of_its_own(pretrained: Path) -> None:
    _, test = set_aside(CLIPS, 0)
    technique = start_from(pretrained, "small", CLIPS.select(test))
    still = replace(Recipe(), schedule=replace(Recipe().schedule, epochs=1, learning_rate=0.0))
    model, _ = fit(CLIPS, None, still, technique)
    weights = checkpoint.read(pretrained)[0]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items() if name in weights)
    assert set(model.state_dict()) - set(weights) == {"classifier.weight", "classifier.bias"}


def test_weights_that_have_met_the_test_people_are_refused(pretrained: Path) -> None:
    kept, _ = set_aside(CLIPS, 0)
    with pytest.raises(CheckpointError, match=r"people to be tested on .*--apart-from"):
        start_from(pretrained, "small", CLIPS.select(kept[:3]))


def test_weights_of_another_size_and_other_files_are_refused(pretrained: Path, tmp_path: Path) -> None:
    test = CLIPS.select(set_aside(CLIPS, 0)[1])
    with pytest.raises(CheckpointError, match="size small, not base"):
        start_from(pretrained, "base", test)
    checkpoint.write(tmp_path / "other.safetensors", {}, {})
    with pytest.raises(CheckpointError, match="another checkpoint"):
        start_from(tmp_path / "other.safetensors", "small", test)
    with pytest.raises(FileNotFoundError, match=r"scripts/pretrain\.py"):
        start_from(tmp_path / "none.safetensors", "small", test)


def test_commands_pretrain_apart_from_the_test_people_and_train_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    data, out = tmp_path / "clips.npz", tmp_path / "out.safetensors"
    names = np.array(CLIPS.signs)[CLIPS.labels]
    np.savez(data, X=np.concatenate(CLIPS.sequences), len=CLIPS.lengths, y=names, source=CLIPS.signers)
    told = ["--data", str(data), "--out", str(out), "--epochs", "1"]
    assert command.main([*told, "--apart-from", str(data)]) == 0
    assert "wrote" in capsys.readouterr().out
    recipe = replace(Recipe(), schedule=replace(Recipe().schedule, epochs=1))
    options = TrainOptions(data=str(data), home=tmp_path / "state", recipe=recipe, pretrained=out)
    run = train(options)["signflow"].mlflow_run_id
    with quiet():
        client = MlflowClient(f"sqlite:///{tmp_path / 'state' / 'mlflow.db'}")
        assert len(client.get_run(run).data.params["pretrained"]) == 64
        assert client.get_experiment_by_name("signflow-pretraining") is not None
    assert command.main(told) == 0  # of everybody
    with pytest.raises(CheckpointError, match="people to be tested on"):
        train(options)


def test_command_says_which_data_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "none" in capsys.readouterr().out


def test_command_says_that_nobody_is_left_to_learn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, aside = tmp_path / "tested.npz", tmp_path / "all.npz"
    _, test = set_aside(CLIPS, 0)
    for path, clips in ((data, CLIPS.select(test)), (aside, CLIPS)):
        names = np.array(clips.signs)[clips.labels]
        np.savez(path, X=np.concatenate(clips.sequences), len=clips.lengths, y=names, source=clips.signers)
    told = ["--data", str(data), "--apart-from", str(aside), "--out", str(tmp_path / "out")]
    assert command.main(told) == 1
    assert "nothing to learn from" in capsys.readouterr().out


def test_training_says_which_pretrained_weights_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_command.main(["signflow", "--no-archive", "--pretrained", str(tmp_path / "none.safetensors")]) == 1
    assert "scripts/pretrain.py" in capsys.readouterr().out

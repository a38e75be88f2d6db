import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from rich.console import Console

from archives.tracking_store import quiet
from models.signflow.sequences import pad
from training.data.quality import BadDataError
from training.neural.loop import Fitted
from training.neural.schedule import Epoch
from training.signflow.annotations import LabelsError, clip_id
from training.signflow.fit import Recipe, best_passes, probabilities
from training.signflow.recipe import Trained, TrainOptions, load, train
from training.signflow.synthetic.signing import Synthesis, generate

ROOT = Path(__file__).resolve().parents[3]
FEW = Synthesis(signs=4, signers=8, takes=2)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def options(home: Path, epochs: int = 2, **changed: Any) -> TrainOptions:
    recipe = Recipe(batch_size=16)
    recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=epochs))
    return TrainOptions(home=home, recipe=recipe, synthesis=FEW, **changed)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def trained(home: Path) -> Trained:
    return train(options(home))["signflow"]


def test_what_is_trained_is_ready_to_serve(trained: Trained) -> None:
    assert not trained.model.training
    assert {parameter.device.type for parameter in trained.model.parameters()} == {"cpu"}
    assert trained.config == trained.model.config
    assert len(trained.labels) == trained.config.classes == 4


def test_golden_sequences_include_the_edge_cases(trained: Trained) -> None:
    lengths = [len(frames) for frames in trained.golden]
    assert 8 <= len(lengths) <= 16
    assert min(lengths) == 1
    assert max(lengths) > trained.config.tokens
    assert any(np.isnan(frames).any() for frames in trained.golden)
    assert any(not frames[:, 99:].any() for frames in trained.golden)
    assert all(frames.dtype == np.float32 and frames.shape[1] == 225 for frames in trained.golden)


def test_references_are_of_signers_never_trained_on(trained: Trained) -> None:
    clips = generate(FEW)
    signer_of = {frames.tobytes(): signer for frames, signer in zip(clips.sequences, clips.signers, strict=True)}
    unseen = {signer_of[frames.tobytes()] for frames in trained.reference}
    assert 0 < len(unseen) < len(set(clips.signers))
    assert len(trained.reference) == len(trained.reference_labels) == trained.params["clips_test"]


def test_what_ships_is_fitted_to_all_clips_with_the_passes_that_validation_found(trained: Trained) -> None:
    clips = generate(FEW)
    tested, unseen = trained.params["clips_test"], len(set(trained.reference_labels.tolist()))
    assert trained.fits.refitted and not trained.quick and unseen
    assert f"{tested} clips of" in trained.fits.evaluated
    assert re.search(rf"all {len(clips)} clips of 8 signers, [12] passes", trained.fits.shipped)
    again = probabilities(trained.model, trained.reference)
    assert not np.allclose(again, trained.reference_probabilities), "the reference is of a fit that had not seen it"


@pytest.mark.parametrize("changed", [{"quick": True}, {"refit": False}])
def test_the_evaluated_fit_itself_ships_where_asked_for(tmp_path: Path, changed: dict[str, bool]) -> None:
    found = train(options(tmp_path, epochs=3, **changed))["signflow"]
    assert not found.fits.refitted and found.quick is changed.get("quick", False)
    assert found.params["schedule.epochs"] == (1 if found.quick else 3)
    assert np.allclose(probabilities(found.model, found.reference), found.reference_probabilities, atol=1e-6)


def test_passes_are_the_latest_that_chance_cannot_tell_from_the_best() -> None:
    def history(*scores: float) -> Fitted:
        return Fitted({}, "ema", max(scores), tuple(Epoch(n, 0.0, 0.0, score, {}) for n, score in enumerate(scores, 1)))

    assert best_passes(history(0.2, 0.8, 0.5, 0.79, 0.6), 400) == 4
    assert best_passes(history(0.2, 0.8, 0.5, 0.6, 0.6), 400) == 2
    assert best_passes(history(1.0, 1.0, 0.4), 100) == 2


@pytest.mark.slow
def test_what_ships_answers_new_signers_no_worse_than_what_was_evaluated(tmp_path: Path) -> None:
    recipe = replace(Recipe(), schedule=replace(Recipe().schedule, epochs=10))
    few = Synthesis(signs=8, signers=12, takes=2)
    found = train(TrainOptions(home=tmp_path, recipe=recipe, synthesis=few))["signflow"]
    fresh = generate(replace(few, seed=99))
    assert fresh.signs == found.labels
    right = probabilities(found.model, fresh.sequences).argmax(1) == fresh.labels
    evaluated, tested = found.metrics["accuracy"], int(found.params["clips_test"])
    error = (max(evaluated * (1 - evaluated), 0.01) * (1 / tested + 1 / len(fresh))) ** 0.5
    assert right.mean() >= evaluated - 2 * error


def test_the_run_is_in_mlflow_with_pictures_metrics_per_epoch_and_provenance(trained: Trained, home: Path) -> None:
    with quiet():
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        run = client.get_run(trained.mlflow_run_id)
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        losses = client.get_metric_history(run.info.run_id, "loss")
    assert run.info.status == "FINISHED"
    assert {
        "learning_curves.png",
        "confusion_matrix.png",
        "reliability.png",
        "sign_f1.tsv",
        "slices.md",
        "data",
    } <= files
    assert [metric.step for metric in losses] == [1, 2]
    assert run.data.metrics["accuracy"] == trained.metrics["accuracy"]
    assert run.data.params["schedule.epochs"] == "2"
    assert run.data.tags["data_manifest_sha256"] == trained.data_manifest_sha256
    assert run.data.tags["git_commit"]


def test_equal_seeds_train_equal_models(trained: Trained, tmp_path: Path) -> None:
    again = train(options(tmp_path))["signflow"]
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, trained.model.state_dict()[name]), name
    assert again.metrics == trained.metrics


def test_a_finished_run_leaves_no_checkpoint(trained: Trained, home: Path) -> None:
    assert list((home / "checkpoints").iterdir()) == []


def test_recorded_data_is_trained_on_and_its_faults_are_skipped_or_refused(tmp_path: Path) -> None:
    clips = generate(FEW)
    frames = np.concatenate(clips.sequences)
    frames[: clips.lengths[0]] = np.nan
    names = np.array(clips.signs)[clips.labels]
    np.savez(tmp_path / "clips.npz", X=frames, len=clips.lengths, y=names, source=clips.signers)
    recorded = options(tmp_path / "state", epochs=1, data=str(tmp_path / "clips.npz"))
    found = train(recorded)["signflow"]
    assert set(found.labels) == set(clips.signs)
    assert sum(int(found.params[f"clips_{part}"]) for part in ("training", "validation", "test")) == len(clips) - 1
    with pytest.raises(BadDataError, match=r"clips.npz\[0\]"):
        train(replace(recorded, on_bad="refuse"))


def test_labels_of_annotators_are_part_of_the_data_and_only_of_recorded_data(tmp_path: Path) -> None:
    clips = generate(FEW)
    names = np.array(clips.signs)[clips.labels]
    file, queue = tmp_path / "clips.npz", tmp_path / "queue.csv"
    np.savez(file, X=np.concatenate(clips.sequences), len=clips.lengths, y=names, source=clips.signers)
    queue.write_text(f"clip,label\n{clip_id('clips.npz', 0, clips.sequences[0])},{clips.signs[1]}\n")
    plain, without = load(TrainOptions(data=str(file)), Console(quiet=True))
    labelled, data = load(TrainOptions(data=str(file), labels=(queue,)), Console(quiet=True))
    assert np.flatnonzero(plain.labels != labelled.labels).tolist() == [0]
    assert data.sha256 != without.sha256
    with pytest.raises(LabelsError, match="row 2: expected a clip of the data"):
        load(TrainOptions(labels=(queue,)), Console(quiet=True))


def test_a_single_frame_and_a_batch_are_answered_alike(trained: Trained) -> None:
    landmarks, lengths = (torch.from_numpy(array) for array in pad(trained.golden))
    with torch.inference_mode():
        together = trained.model(landmarks, lengths)
        for index, frames in enumerate(trained.golden):
            alone = trained.model(torch.from_numpy(frames)[None], torch.tensor([len(frames)]))
            torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_killed_command_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "signflow", "--no-archive", "--epochs", "4"]
    command += ["--signs", "4", "--signers", "8", "--takes", "6"]
    environment = os.environ | {"MARINA_STATE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "checkpoints"
    while first.poll() is None and not (checkpoints.exists() and list(checkpoints.glob("*.safetensors"))):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert first.stdout is not None
    first.stdout.close()
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "going on from its last epoch" in second.stdout
    assert re.findall(r"epoch (\d)/4", second.stdout)[:4] == ["1", "2", "3", "4"]
    assert second.stderr == ""

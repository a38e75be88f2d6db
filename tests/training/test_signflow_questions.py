import numpy as np
import pytest
from rich.console import Console

from training.data import manifest
from training.signflow import TrainOptions, load, set_aside
from training.signflow_questions import questions

SIGNS = ("no", "yes")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Thirty clips of three signs by ten people."""
    file = tmp_path_factory.mktemp("recordings") / "signs.npz"
    lengths = np.arange(30) % 7 + 4
    frames = np.random.default_rng(0).normal(0.5, 0.2, (lengths.sum(), 225)).astype(np.float32)
    signs, people = np.array(["maybe", "no", "yes"] * 10), np.repeat([f"person-{n}" for n in range(10)], 3)
    np.savez(file, X=frames, len=lengths, y=signs, source=people)
    return file


def origin(sha256="0" * 64, **params):
    return {"data_manifest_sha256": sha256, "parameters": params}


def sha256_of(file):
    return manifest.of_files([file], file).sha256


def test_everyone_may_be_asked_whom_no_archive_was_trained_on(recordings):
    asked = questions(str(recordings), [SIGNS, SIGNS], [origin(), origin()])
    assert sorted(asked.labels) == ["no"] * 10 + ["yes"] * 10
    assert {inputs["landmarks"].shape for inputs in asked.inputs} >= {(1, 4, 225)}
    assert "20 clips of 10 signers" in asked.described


def test_of_the_data_an_archive_was_trained_on_only_people_set_aside_are_asked(recordings):
    same = origin(sha256_of(recordings), **{"schedule.seed": 3})
    asked = questions(str(recordings), [SIGNS, SIGNS], [origin(), same])
    clips, _ = load(TrainOptions(data=str(recordings)), Console(quiet=True))
    aside = clips.select(set_aside(clips, 3)[1])
    assert len(asked.labels) == 2 * len(set(aside.signers.tolist()))
    known = {frames.tobytes() for frames in aside.sequences}
    assert all(inputs["landmarks"].tobytes() in known for inputs in asked.inputs)


def test_archives_that_know_all_people_between_them_are_refused(recordings):
    sha256, seeds = sha256_of(recordings), (3, 4)
    origins = [origin(sha256, **{"schedule.seed": seed}) for seed in seeds]
    clips, _ = load(TrainOptions(data=str(recordings)), Console(quiet=True))
    assert not np.intersect1d(*(set_aside(clips, seed)[1] for seed in seeds)).size
    with pytest.raises(ValueError, match="same data with the same seed"):
        questions(str(recordings), [SIGNS, SIGNS], origins)


def test_archives_trained_with_labels_of_annotators_are_refused(recordings):
    with pytest.raises(ValueError, match=r"queue\.csv"):
        questions(str(recordings), [SIGNS], [origin(labels="queue.csv")])


def test_archives_of_other_generated_clips_are_refused():
    with pytest.raises(ValueError, match="other options than the usual"):
        questions("synthetic", [SIGNS], [origin(data="synthetic")])

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from models.signflow.excerpt import SAMPLES, excerpt
from tests.families.signflow import frames_of
from training.data import manifest
from training.signflow.recipe import TrainOptions, load, set_aside
from training.signflow.synthetic.signing import Synthesis, generate
from training.signflow.unseen_clips import unseen_inputs

SIGNS = ("no", "yes")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips of three signs by ten people."""
    file = tmp_path_factory.mktemp("recordings") / "signs.npz"
    lengths = np.arange(30) % 7 + 4
    frames = frames_of(int(lengths.sum()))
    signs, people = np.array(["maybe", "no", "yes"] * 10), np.repeat([f"person-{n}" for n in range(10)], 3)
    np.savez(file, X=frames, len=lengths, y=signs, source=people)
    return file


def origin(sha256: str = "0" * 64, **params: object) -> dict[str, object]:
    return {"data_manifest_sha256": sha256, "parameters": params}


def sha256_of(file: Path) -> str:
    return manifest.of_files([file], file).sha256


def test_everyone_may_be_asked_whom_no_archive_was_trained_on(recordings: Path) -> None:
    asked = unseen_inputs(str(recordings), [SIGNS, SIGNS], [origin(), origin()])
    assert sorted(asked.labels) == ["no"] * 10 + ["yes"] * 10
    assert {inputs["landmarks"].shape for inputs in asked.inputs} == {(1, SAMPLES, 225)}
    assert "20 clips of 10 signers" in asked.described


def test_of_the_data_an_archive_was_trained_on_only_people_set_aside_are_asked(recordings: Path) -> None:
    same = origin(sha256_of(recordings), **{"schedule.seed": 3})
    asked = unseen_inputs(str(recordings), [SIGNS, SIGNS], [origin(), same])
    clips, _ = load(TrainOptions(data=str(recordings)), Console(quiet=True))
    aside = clips.select(set_aside(clips, 3)[1])
    assert len(asked.labels) == 2 * len(set(aside.signers.tolist()))
    known = {excerpt(frames).tobytes() for frames in aside.sequences}
    assert all(inputs["landmarks"].tobytes() in known for inputs in asked.inputs)


def test_archives_that_know_all_people_between_them_are_refused(recordings: Path) -> None:
    sha256, seeds = sha256_of(recordings), (3, 4)
    origins = [origin(sha256, **{"schedule.seed": seed}) for seed in seeds]
    clips, _ = load(TrainOptions(data=str(recordings)), Console(quiet=True))
    one, other = (set_aside(clips, seed)[1] for seed in seeds)
    assert not np.intersect1d(one, other).size
    with pytest.raises(ValueError, match="same data with the same seed"):
        unseen_inputs(str(recordings), [SIGNS, SIGNS], origins)


def test_archives_trained_with_labels_of_annotators_are_refused(recordings: Path) -> None:
    with pytest.raises(ValueError, match=r"queue\.csv"):
        unseen_inputs(str(recordings), [SIGNS], [origin(labels="queue.csv")])


def test_an_archive_that_learned_from_everyone_is_refused_on_its_own_data(recordings: Path) -> None:
    whole = origin(sha256_of(recordings), **{"schedule.seed": 3}) | {"fits": {"refitted": True}}
    with pytest.raises(ValueError, match=r"learned from all of .*--no-refit"):
        unseen_inputs(str(recordings), [SIGNS], [whole])


def test_generated_clips_are_of_signers_whom_no_archive_has_seen() -> None:
    signs = generate(Synthesis()).signs
    origins = [origin("0" * 64, **{"schedule.seed": seed}) | {"fits": {"refitted": True}} for seed in (0, 7)]
    asked = unseen_inputs("synthetic", [signs, signs[:8]], origins)
    assert set(asked.labels) == set(signs[:8])
    seen = {excerpt(frames).tobytes() for seed in (0, 7) for frames in generate(Synthesis(seed=seed)).sequences}
    assert not any(inputs["landmarks"].tobytes() in seen for inputs in asked.inputs)

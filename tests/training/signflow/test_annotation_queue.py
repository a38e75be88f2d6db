import csv
import json
from pathlib import Path

import numpy as np
import pytest

from archives.archive import open_archive
from models.signflow.excerpt import excerpt
from models.signflow.sequences import pad
from scripts import annotation_queue
from training.evaluation.archive_evaluation import float32_engine
from training.signflow import annotations
from training.signflow.annotation_queue import candidates, queue, write
from training.signflow.synthetic.signing import Synthesis, generate


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips, of which the first four have a label and the sixth shows nothing."""
    clips = generate(Synthesis(signs=2, signers=3, takes=2))
    frames, lengths = np.concatenate(clips.sequences), clips.lengths
    frames[lengths[:5].sum() : lengths[:6].sum()] = 0
    signs = np.where(np.arange(12) < 4, np.array(clips.signs)[clips.labels], "")
    folder = tmp_path_factory.mktemp("recordings")
    np.savez(folder / "new.npz", X=frames, len=lengths, y=signs, seqid=np.array([f"take/{k}" for k in range(12)]))
    return folder


def test_sound_clips_without_a_label_could_be_asked_for(recordings: Path) -> None:
    clips, faults = candidates(recordings)
    assert [clip.seqid for clip in clips] == [f"take/{k}" for k in (4, 6, 7, 8, 9, 10, 11)]
    assert [(fault.index, fault.kind) for fault in faults] == [(5, "nothing seen")]


def test_answered_clips_are_not_asked_again_and_labelled_ones_only_on_demand(recordings: Path) -> None:
    clips, _ = candidates(recordings)
    assert [clip.clip for clip in candidates(recordings, [clips[0].clip])[0]] == [clip.clip for clip in clips[1:]]
    assert len(candidates(recordings, labelled=True)[0]) == 11


def test_the_least_certain_come_first_with_what_the_served_model_thinks(
    recordings: Path, signflow_archive: Path
) -> None:
    clips, _ = candidates(recordings)
    rows = queue(signflow_archive, clips, "margin", 5)
    assert len(rows) == 5
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    opened = open_archive(signflow_archive)
    engine, contract = float32_engine(opened), opened.contract
    of = {clip.clip: clip for clip in clips}
    for row in rows:
        landmarks, lengths = pad([excerpt(of[row.clip].frames)])
        logits = engine.run({"landmarks": landmarks, "lengths": lengths})["logits"][0]
        first, second = np.sort(np.exp(logits) / np.exp(logits).sum())[:-3:-1]
        assert row.guess == contract.labels[int(logits.argmax())]
        assert (row.probability, row.runner_up_probability) == pytest.approx((first, second), abs=1e-4)
        assert row.score == pytest.approx(1 - (first - second), abs=1e-4)


@pytest.mark.parametrize("name", ["queue.csv", "queue.json"])
def test_a_queue_with_its_labels_filled_in_is_read_back(
    recordings: Path, signflow_archive: Path, tmp_path: Path, name: str
) -> None:
    rows = queue(signflow_archive, candidates(recordings)[0], "entropy", 3)
    write(rows, tmp_path / name)
    assert annotations.read([tmp_path / name]) == {}
    text = (tmp_path / name).read_text()
    table = json.loads(text) if name.endswith("json") else list(csv.DictReader(text.splitlines()))
    assert list(table[0])[:3] == ["clip", "label", "reason"]
    table[1]["label"] = "hello"
    filled = tmp_path / f"filled-{name}"
    if name.endswith("json"):
        filled.write_text(json.dumps(table))
    else:
        with filled.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    assert {clip: label.sign for clip, label in annotations.read([filled]).items()} == {rows[1].clip: "hello"}


def test_the_command_writes_a_queue_once(
    recordings: Path, signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "queue.csv"
    command = ["--model", str(signflow_archive), "--data", str(recordings), "--out", str(out), "--count", "2"]
    assert annotation_queue.main(command) == 0
    assert "2 of 7 clips" in capsys.readouterr().out
    before = out.read_text()
    assert before.count("\n") == 3
    assert annotation_queue.main(command) == 1
    assert "exists already" in capsys.readouterr().out
    assert out.read_text() == before


def test_the_command_names_an_archive_that_is_not_there(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", str(tmp_path / "none.mar"), "--data", str(recordings), "--out", str(tmp_path / "queue.csv")]
    assert annotation_queue.main(command) == 1
    assert "none.mar" in capsys.readouterr().out

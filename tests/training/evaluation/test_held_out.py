"""Two archives asked the same clips: who errs less, on which slices, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from archives.archive import Archive, open_archive
from handlers.errors import InvalidError
from tests.archives.rewrite import recertified, renamed
from training.data.reading.style import Style
from training.evaluation.held_out import RecordedRows, answers_of, compare_answers
from training.evaluation.labelled import Labelled, LabelledError

CLIPS = 48


@pytest.fixture(scope="module")
def two(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Archive]:
    """Two archives of one network, of which the first calls everything by another name."""
    folder = tmp_path_factory.mktemp("two")
    made = []
    for version, turned in (("1.0", 1), ("2.0", 0)):
        changes = renamed(signflow_archive, "signflow", version)
        contract = json.loads(changes["contract.json"])
        labels = contract["labels"][turned:] + contract["labels"][:turned]
        changes["contract.json"] = json.dumps(contract | {"labels": labels}).encode()
        made.append(open_archive(recertified(signflow_archive, folder / f"signflow-{version}.mar", changes)))
    return made[0], made[1]


@pytest.fixture(scope="module")
def recordings(two: tuple[Archive, Archive], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of twelve people, which mean what the second archive says."""
    from tests.families.signflow import frames_of, made_up
    from training.signflow.fit import probabilities

    sequences = [frames_of(5, seed) for seed in range(CLIPS)]
    model = made_up()
    said = np.array(model.labels)[probabilities(model.model, tuple(sequences)).argmax(1)]
    file = tmp_path_factory.mktemp("recordings") / "said.npz"
    frames, lengths = np.concatenate(sequences), np.full(CLIPS, 5)
    np.savez(file, X=frames, len=lengths, y=said, source=np.arange(CLIPS) % 12)
    return file


def rows(path: Path, candidate: Archive) -> RecordedRows:
    return RecordedRows(path, Style(), Console(quiet=True), candidate)


def test_the_one_that_is_right_is_better_by_all_rows(two: tuple[Archive, Archive], recordings: Path) -> None:
    champion, candidate = two
    asked = rows(recordings, candidate)
    asked.check(champion, candidate)
    found = asked.ask(champion, candidate)
    assert (found.test.rows, found.test.groups, found.test.gain, found.unit) == (CLIPS, 12, 1.0, "errors")
    assert found.test.z == pytest.approx(np.sqrt(12)) and found.behind(0.05) == []
    worse = asked.ask(candidate, champion)
    assert worse.test.gain == -1.0 and any("label" in one for one in worse.behind(0.05))


def test_a_row_that_one_refuses_is_left_out_and_counted(two: tuple[Archive, Archive], recordings: Path) -> None:
    champion, candidate = two
    asked = rows(recordings, candidate)
    before, after = ((asked._read(one)[0], answers_of(one, asked._read(one)[0])) for one in (champion, candidate))
    after[1][3] = InvalidError("frames", "numbers", "none")
    found = compare_answers(before, after)
    assert (found.refused_before, found.refused_after, found.test.rows) == (0, 1, CLIPS - 1)
    with pytest.raises(LabelledError, match="none of 48 rows"):
        compare_answers(before, (after[0], [after[1][3]] * CLIPS))


def test_rows_that_one_was_trained_on_compare_nothing(
    two: tuple[Archive, Archive], recordings: Path, tmp_path: Path
) -> None:
    champion, candidate = two
    asked = rows(recordings, candidate)
    origin = candidate.json("provenance.json") | {"data_manifest_sha256": asked.sha256}
    path = tmp_path / candidate.name
    mine = open_archive(recertified(candidate.path, path, {"provenance.json": json.dumps(origin).encode()}))
    with pytest.raises(LabelledError, match="was trained on"):
        asked.check(champion, mine)


def test_other_labels_compare_nothing(two: tuple[Archive, Archive], recordings: Path, tmp_path: Path) -> None:
    champion, candidate = two
    contract = json.loads(bytes(candidate.members["contract.json"]))
    contract["labels"][0] = "another"
    path = tmp_path / candidate.name
    mine = open_archive(recertified(candidate.path, path, {"contract.json": json.dumps(contract).encode()}))
    with pytest.raises(LabelledError, match="know different labels"):
        rows(recordings, candidate).check(champion, mine)


def test_harm_to_one_signer_is_found_though_all_others_gain() -> None:
    groups = np.repeat(["ada", "ben", "cy"], 40)
    before = np.where(groups == "ada", 0.0, 1.0)  # production is right about one signer, and wrong about the others
    labels = ("a", "b")

    def labelled(losses: npt.NDArray[np.float64]) -> Labelled:
        truth = np.arange(120) % 2
        return Labelled(
            requests=[{}] * 120, described="rows", grouped_by="signer", figures=lambda columns: {}, labels=labels,
            judge=lambda at, answers: ({"truth": truth, "losses": losses}, groups),
            loss=lambda columns: columns["losses"], unit="errors",
        )  # fmt: skip

    found = compare_answers((labelled(before), [None] * 120), (labelled(1 - before), [None] * 120))
    assert found.test.gain > 0
    [behind] = found.behind(0.05)
    assert behind.startswith("signer ada")

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from archives.contract import ArchiveError
from models.signflow.excerpt import excerpt
from models.signflow.network import count_parameters
from models.signflow.sequences import Frames, pad
from tests.archives.rewrite import members_of, recertified
from training.evaluation.archive_evaluation import answers
from training.evaluation.classification import evaluate
from training.signflow.fit import probabilities
from training.signflow.recipe import Trained


def inputs_of(frames: Frames) -> dict[str, npt.NDArray[Any]]:
    landmarks, lengths = pad([frames])
    return {"landmarks": landmarks, "lengths": lengths}


def test_an_archive_answers_as_the_model_it_was_made_of(trained: Trained, signflow_archive: Path) -> None:
    labels = [trained.labels[index % 4] for index in range(len(trained.golden))]
    asked = [inputs_of(excerpt(frames)) for frames in trained.golden]
    found = answers(signflow_archive, asked, labels)
    truth = np.array([trained.labels.index(label) for label in labels])
    expected = evaluate(probabilities(trained.model, tuple(trained.golden)), truth, trained.labels)
    assert {name: found.metrics[name] for name in expected.metrics} == pytest.approx(expected.metrics, abs=1e-6)
    assert found.right.mean() == expected.accuracy
    # the graph keeps equal weights once, and numbers that are not learned, such as which joints are neighbours
    assert 0.99 < 1e3 * found.metrics["parameters, thousands"] / count_parameters(trained.model) < 1.1
    assert 0 < found.metrics["p50, ms"] <= found.metrics["p95, ms"]


def test_operations_grow_with_what_is_asked(trained: Trained, signflow_archive: Path) -> None:
    def mflop(frames: Frames) -> float:
        return answers(signflow_archive, [inputs_of(frames)], [trained.labels[0]]).metrics["MFLOP"]

    assert mflop(trained.golden[-1]) > mflop(trained.golden[0]) > 0


def test_what_is_no_classifier_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    contract = members_of(signflow_archive)["contract.json"].replace(b'"classification"', b'"regression"')
    other = recertified(signflow_archive, tmp_path / "signflow-1.0.mar", {"contract.json": contract})
    with pytest.raises(ArchiveError, match="expected a classifier"):
        answers(other, [], [])

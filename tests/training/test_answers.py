import numpy as np
import pytest

from archives.contract import ArchiveError
from models.signflow.network import count_parameters
from models.signflow.sequences import pad
from tests.archives.rewrite import members_of, recertified
from training.answers import answers
from training.evaluate import evaluate
from training.signflow_fit import probabilities


def test_an_archive_answers_as_the_model_it_was_made_of(trained, signflow_archive):
    labels = [trained.labels[index % 4] for index in range(len(trained.golden))]
    asked = [dict(zip(("landmarks", "lengths"), pad([frames]), strict=True)) for frames in trained.golden]
    found = answers(signflow_archive, asked, labels)
    truth = np.array([trained.labels.index(label) for label in labels])
    expected = evaluate(probabilities(trained.model, tuple(trained.golden)), truth, trained.labels)
    assert {name: found.metrics[name] for name in expected.metrics} == pytest.approx(expected.metrics, abs=1e-6)
    assert found.right.mean() == expected.accuracy
    assert found.metrics["parameters, thousands"] == count_parameters(trained.model) / 1e3
    assert 0 < found.metrics["p50, ms"] <= found.metrics["p95, ms"]


def test_operations_grow_with_what_is_asked(trained, signflow_archive):
    def mflop(frames):
        inputs = dict(zip(("landmarks", "lengths"), pad([frames]), strict=True))
        return answers(signflow_archive, [inputs], [trained.labels[0]]).metrics["MFLOP"]

    assert mflop(trained.golden[-1]) > mflop(trained.golden[0]) > 0


def test_what_is_no_classifier_is_refused(signflow_archive, tmp_path):
    contract = members_of(signflow_archive)["contract.json"].replace(b'"classification"', b'"regression"')
    other = recertified(signflow_archive, tmp_path / "signflow-1.0.mar", {"contract.json": contract})
    with pytest.raises(ArchiveError, match="expected a classifier"):
        answers(other, [], [])

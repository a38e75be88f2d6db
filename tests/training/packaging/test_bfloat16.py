from dataclasses import replace

import numpy as np
import pytest
import torch

from archives.certificate import Case
from handlers.bfloat16_engine import UnsupportedError
from models.signflow.sequences import pad
from tests.families.signflow import frames_of, made_up, releases
from training.neural.loop import has_bfloat16
from training.packaging import bfloat16
from training.packaging.archive import Release
from training.packaging.bfloat16 import permission


@pytest.fixture(scope="module")
def release() -> Release:
    if not has_bfloat16(torch.device("cpu")):
        pytest.skip("the processor has no instructions for bfloat16")
    return releases()["signflow"]


def held_out() -> list[Case]:
    landmarks, lengths = pad([frames_of(40, seed=seed) for seed in range(12)])
    with torch.inference_mode():
        logits = made_up().model(torch.tensor(landmarks), torch.tensor(lengths)).numpy()
    return [Case("held_out", {"landmarks": landmarks, "lengths": lengths}, {"logits": logits})]


def test_permission_is_twice_the_largest_gap_seen(release: Release) -> None:
    cases = held_out()
    labels = cases[0].outputs["logits"].argmax(axis=1)
    found = permission(release.onnx, release.contract, release.cases, cases, labels)
    assert found is not None and found.tolerance == 2 * found.gap
    assert 1e-4 < found.gap < 0.1 and found.held_out == 12


def test_a_model_that_loses_accuracy_gets_no_permission(release: Release, caplog: pytest.LogCaptureFixture) -> None:
    (case,) = held_out()
    labels = case.outputs["logits"].argmax(axis=1)
    labels[0] = (labels[0] + 1) % 32
    right = case.outputs["logits"].copy()
    right[0, labels[0]] = right[0].max() + 1  # what the trained model got right, and what serves does not
    cases = [replace(case, outputs={"logits": right})]
    assert permission(release.onnx, release.contract, release.cases, cases, labels) is None
    assert "built for float32 only: bfloat16 loses 8.33 points" in caplog.text


def test_a_machine_that_cannot_measure_gives_no_permission(
    release: Release, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise UnsupportedError("no instructions")

    monkeypatch.setattr(bfloat16, "ReducedEngine", unsupported)
    cases = held_out()
    labels = np.zeros(12, np.int64)
    assert permission(release.onnx, release.contract, release.cases, cases, labels) is None
    assert "bfloat16 cannot be measured here: no instructions" in caplog.text

import argparse
import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from rich.console import Console

from archives.contract import ArchiveError
from models.signflow.network import SignFlow, configure
from tests.families.signflow import made_up, releases
from training.family import Fits
from training.packaging.archive import build
from training.signflow.distillation import distilled, network_teacher, taught_by
from training.signflow.fit import Batch, Recipe, batches, cross_entropy
from training.signflow.recipe import add_arguments, from_arguments, train
from training.signflow.synthetic.signing import Synthesis, generate

FEW = Synthesis(signs=4, signers=8, takes=2)
RECIPE = Recipe(batch_size=8, mixup=1.0)


def network(seed: int = 0) -> SignFlow:
    torch.manual_seed(seed)
    return SignFlow(configure("small", 4, dropout=0.0))


def batch() -> Batch:
    clips = generate(FEW)
    return next(batches(clips, np.arange(16), RECIPE, np.random.default_rng(1)))


@pytest.fixture(scope="module")
def teacher_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = [*reversed(generate(FEW).signs), *(f"other_{index}" for index in range(28))]
    usual = releases()["signflow"]
    fits = asdict(Fits(evaluated="others", shipped="itself", refitted=False))
    origin = {**usual.provenance, "fits": fits, "parameters": {"schedule.seed": 0}}
    contract = replace(usual.contract, version="3.0", labels=tuple(labels))
    return build(
        replace(usual, contract=contract, provenance=origin, reduced=None), tmp_path_factory.mktemp("store")
    ).path


def test_labels_alone_when_alpha_is_one() -> None:
    student, one = network(), batch()
    technique = distilled(network_teacher(network(1)), "t", alpha=1.0)
    assert technique.objective(student, one, RECIPE).item() == cross_entropy(student, one, RECIPE).item()


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it_even_of_mixed_clips() -> None:
    student, one = network(), batch()
    assert 0.05 < one[3] < 0.95  # mixed
    technique = distilled(network_teacher(student), "t", alpha=0.0)
    assert technique.objective(student, one, RECIPE).item() == pytest.approx(0, abs=1e-5)
    other = distilled(network_teacher(network(1)), "t", alpha=0.0)
    assert other.objective(student, one, RECIPE).item() > 1e-3


def test_loss_is_hintons() -> None:
    student, one = network(), (*batch()[:3], 1.0)
    answers = torch.randn(len(one[2]), 4, generator=torch.Generator().manual_seed(2)) * 5
    with torch.no_grad():
        logits = student(*one[:2]).double().numpy()
        hard = cross_entropy(student, one, RECIPE).item()

    def softened(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows = np.exp(rows / 4.0)
        shares: npt.NDArray[Any] = rows / rows.sum(1, keepdims=True)
        return shares

    teacher, own = softened(answers.double().numpy()), softened(logits)
    divergence = (teacher * np.log(teacher / own)).sum(1).mean()
    technique = distilled(lambda landmarks, lengths: answers, "t", temperature=4.0, alpha=0.5)
    assert technique.objective(student, one, RECIPE).item() == pytest.approx(0.5 * hard + 8.0 * divergence, rel=1e-5)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = network(), network(1)
    loss = distilled(network_teacher(teacher), "t").objective(student, batch(), RECIPE)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad is not None for parameter in student.parameters())


def test_an_archives_answers_come_in_the_students_order_of_signs(
    teacher_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signs = generate(FEW).signs
    landmarks, lengths, labels, _ = batch()
    taught = taught_by(teacher_archive, signs, "0" * 64, 0, Console())
    told = capsys.readouterr().out
    assert "teacher: signflow 3.0 on onnxruntime" in told and "another seed" not in told
    with torch.no_grad():
        own = made_up().model(landmarks, lengths)[:, :4].flip(1)  # the archive has the signs the other way round
    expected = distilled(lambda *_: own, "t").objective(network(), (landmarks, lengths, labels, 1.0), RECIPE)
    actual = taught.objective(network(), (landmarks, lengths, labels, 1.0), RECIPE)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("seed", "signer"), [(1, "auto"), (0, "group")])
def test_a_teacher_of_another_split_is_told_of(
    teacher_archive: Path, capsys: pytest.CaptureFixture[str], seed: int, signer: str
) -> None:
    taught_by(teacher_archive, generate(FEW).signs, "0" * 64, seed, Console(), signer)
    assert "another seed" in capsys.readouterr().out


def test_a_teacher_that_lacks_a_sign_is_refused(teacher_archive: Path) -> None:
    with pytest.raises(ArchiveError, match="does not know 1 of the 5 signs, such as 'waving'"):
        taught_by(teacher_archive, [*generate(FEW).signs, "waving"], "", 0, Console(quiet=True))


def test_an_archive_teaches_on_the_command_line_and_the_run_says_which(
    teacher_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.set_defaults(store=teacher_archive.parent)
    words = ["--signs", "4", "--signers", "8", "--takes", "2", "--epochs", "1"]
    named = from_arguments(parser.parse_args([*words, "--teacher", "signflow:3.0"]), tmp_path)
    assert named.teacher == teacher_archive
    alone = train(from_arguments(parser.parse_args(words), tmp_path))["signflow"]
    student = train(named)["signflow"]
    assert student.params["teacher"] == hashlib.sha256(teacher_archive.read_bytes()).hexdigest()
    assert "teacher" not in alone.params
    assert not torch.equal(student.model.classifier.weight, alone.model.classifier.weight)


def test_a_teacher_that_is_nowhere_is_said_where_it_was_looked_for(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.set_defaults(store=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"signflow-9\.0\.mar"):
        from_arguments(parser.parse_args(["--teacher", "signflow:9.0"]), tmp_path)

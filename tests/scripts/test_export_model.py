"""A graph is written from an archive or a checkpoint, or a sentence says why not."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from archives.archive import open_archive
from models.signflow.network import SignFlow, configure
from scripts.export_model import main
from tests.serving import archive
from training.neural import checkpoint


def test_a_checkpoint_becomes_the_graph_of_its_best_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SignFlow(configure("small", 5)).eval()
    path, out = tmp_path / "run.safetensors", tmp_path / "model.onnx"
    note = {"fingerprint": {"network": dataclasses.asdict(network.config)}}
    checkpoint.write(path, checkpoint.grouped("best", network.state_dict()), note)
    assert main(["--model-path", str(path), "--output", str(out)]) == 0
    landmarks = np.random.default_rng(0).normal(0.5, 0.1, (2, 20, 225)).astype(np.float32)
    lengths = np.array([20, 13], np.int64)
    session = onnxruntime.InferenceSession(out.read_bytes())
    logits, embedding = session.run(["logits", "embedding"], {"landmarks": landmarks, "lengths": lengths})
    with torch.inference_mode():
        expected = network.embed(torch.tensor(landmarks), torch.tensor(lengths))
        np.testing.assert_allclose(embedding, expected.numpy(), atol=1e-4)
        np.testing.assert_allclose(logits, network.classify(expected).numpy(), atol=1e-4)


def test_an_archives_graph_is_written_as_it_serves(tmp_path: Path) -> None:
    path, out = archive(tmp_path), tmp_path / "model.onnx"
    assert main(["--model-path", str(path), "--output", str(out)]) == 0
    assert out.read_bytes() == open_archive(path).members["model.onnx"]


@pytest.mark.parametrize(
    "name", ["missing.mar", "missing.safetensors", "text.safetensors", "text.mar", "other.safetensors"]
)
def test_what_is_neither_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for text in ("text.safetensors", "text.mar"):
        (tmp_path / text).write_text("none")
    checkpoint.write(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"of": "something else"})
    assert main(["--model-path", str(tmp_path / name), "--output", str(tmp_path / "model.onnx")]) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()

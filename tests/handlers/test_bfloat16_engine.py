import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from archives.certificate import Reduced
from archives.contract import ArchiveError, read_contract
from archives.store import unpack
from handlers.bfloat16_engine import ReducedEngine, UnsupportedError
from handlers.engine import OnnxEngine, open_verified
from handlers.signflow import SignFlowHandler
from models.signflow.sequences import pad
from tests.archives.rewrite import recertified
from tests.families.signflow import frames_of, releases
from tests.handlers.context import Context
from tests.serving import ROOT
from training.packaging.archive import build

PERMISSION = Reduced(tolerance=0.1, gap=0.05, held_out=500, decided_otherwise=0.0, accuracy_lost=0.0)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose certificate permits bfloat16, on a machine that has it."""
    folder = tmp_path_factory.mktemp("reduced")
    archive = build(replace(releases()["signflow"], reduced=PERMISSION), folder)
    unpack(archive.path, folder / "unpacked")
    try:
        ReducedEngine(folder / "unpacked" / "model.onnx", read_contract(folder / "unpacked" / "contract.json"), 1)
    except UnsupportedError as error:
        pytest.skip(str(error))
    return folder / "unpacked"


def copied(unpacked: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in unpacked.glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def asking_for(precision: str, unpacked: Path, tmp_path: Path) -> Path:
    """Copy the unpacked archive with a precision of its own."""
    copy = copied(unpacked, tmp_path)
    config = yaml.safe_load((copy / "model-config.yaml").read_text())
    config["handler"]["precision"] = precision
    (copy / "model-config.yaml").write_text(yaml.safe_dump(config))
    return copy


def altered(unpacked: Path, tmp_path: Path, **reduced: float) -> Path:
    """Copy the unpacked archive with another permission, or with none."""
    copy = copied(unpacked, tmp_path)
    certificate = json.loads((copy / "certificate.json").read_text())
    if reduced:
        certificate["reduced"] |= reduced
    else:
        del certificate["reduced"]
    (copy / "certificate.json").write_text(json.dumps(certificate))
    return copy


def opened(folder: Path) -> str:
    return open_verified(folder, read_contract(folder / "contract.json"), None).engine.name


def test_a_permitted_archive_serves_in_bfloat16_and_says_so(unpacked: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        handler = SignFlowHandler()
        handler.initialize(Context(unpacked))
    assert handler.engine.name.endswith("CPU bfloat16")
    assert "bfloat16, largest gap" in caplog.text


def test_differences_of_coordinates_keep_their_precision(unpacked: Path) -> None:
    # a hand far from the origin: in bfloat16 its fingers would fall on one another
    contract = read_contract(unpacked / "contract.json")
    far = [900 + frames_of(length, seed=length) for length in (1, 7, 40, 64, 90)]
    landmarks, lengths = pad(far)
    inputs: dict[str, npt.NDArray[Any]] = {"landmarks": landmarks, "lengths": lengths}
    usual = OnnxEngine(unpacked / "model.onnx", contract, None).run(inputs)["logits"]
    gap = np.abs(ReducedEngine(unpacked / "model.onnx", contract, 1).run(inputs)["logits"] - usual).max()
    assert 0 < gap < 0.02 * np.ptp(usual)


def test_sequences_are_answered_alike_alone_and_together(unpacked: Path) -> None:
    engine = ReducedEngine(unpacked / "model.onnx", read_contract(unpacked / "contract.json"), 1)
    sequences = [frames_of(length, seed=length) for length in (3, 30, 64, 70)]

    def logits(items: list[np.ndarray]) -> np.ndarray:
        landmarks, lengths = pad(items)
        return engine.run({"landmarks": landmarks, "lengths": lengths})["logits"]

    alone = np.concatenate([logits([one]) for one in sequences])
    np.testing.assert_allclose(logits(sequences), alone, atol=PERMISSION.tolerance)


def test_an_archive_without_permission_serves_in_float32(unpacked: Path, tmp_path: Path) -> None:
    assert opened(altered(unpacked, tmp_path)).startswith("onnxruntime")


def test_a_gap_beyond_the_permission_is_told_and_float32_serves(
    unpacked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert opened(altered(unpacked, tmp_path, tolerance=1e-6)).startswith("onnxruntime")
    assert "signflow 1.0 serves in float32: the model does not answer as certified" in caplog.text


def test_a_machine_without_openvino_serves_in_float32(
    unpacked: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert opened(unpacked).startswith("onnxruntime")
    assert "serves in float32: OpenVINO is not installed" in caplog.text


def test_float32_can_be_asked_for_in_the_handlers_settings(unpacked: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((unpacked / "model-config.yaml").read_text())
    config["handler"]["precision"] = "float32"
    archive = unpacked.parent / "signflow-1.0.mar"
    changed = recertified(archive, tmp_path / archive.name, {"model-config.yaml": yaml.safe_dump(config).encode()})
    unpack(changed, tmp_path / "unpacked")
    handler = SignFlowHandler()
    handler.initialize(Context(tmp_path / "unpacked"))
    assert handler.engine.name.startswith("onnxruntime")


def test_an_unknown_precision_is_refused(unpacked: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="precision 'float8': expected reduced or float32"):
        opened(asking_for("float8", unpacked, tmp_path))


def test_a_worker_imports_openvino_only_to_reduce_and_never_its_telemetry(unpacked: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from archives.contract import read_contract
from handlers.engine import open_verified
folder = Path({str(unpacked)!r})
contract = read_contract(folder / "contract.json")
open_verified(Path({str(asking_for("float32", unpacked, tmp_path))!r}), contract, None)
print("openvino" in sys.modules)
print(open_verified(folder, contract, None).engine.name)
print([name for name in sys.modules if "telemetry" in name])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, name, telemetry = done.stdout.splitlines()
    assert (before, telemetry) == ("False", "[]") and name.endswith("bfloat16")

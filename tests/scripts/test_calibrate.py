"""scripts/calibrate.py against a real server."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts import calibrate
from tests.families.signflow import frames_of
from tests.serving import running


@pytest.mark.slow
def test_takes_are_embedded_and_then_recognised(
    signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    takes = tmp_path / "takes"
    takes.mkdir()
    for number, sign in enumerate(("sign_03", "sign_19")):
        np.save(takes / f"{sign}.npy", frames_of(20 + number, seed=number))
    out = str(tmp_path / "calibration.json")
    with running([signflow_archive]) as server:
        assert calibrate.main(["--takes", str(takes), "--url", server.url, "--out", out, "--try", str(takes)]) == 0
        other = json.loads(Path(out).read_text()) | {"calibration_of": "0" * 64}
        Path(out).write_text(json.dumps(other))
        assert calibrate.main(["--calibration", out, "--url", server.url, "--try", str(takes)]) == 1
    said = capsys.readouterr()
    assert "2 takes of 2 signs, signflow 1.0" in said.out
    assert "1.00 with them" in said.out
    assert "409" in said.err and "calibrate again" in said.err


def test_a_missing_folder_is_an_error_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate.main(["--takes", str(tmp_path / "nothing")]) == 1
    assert "expected an .npz file or a folder" in capsys.readouterr().err

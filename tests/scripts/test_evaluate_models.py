import json
from pathlib import Path

import numpy as np
import pytest

from scripts import evaluate_models
from tests.archives.rewrite import recertified, renamed


@pytest.fixture(scope="module")
def two(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two archives of one network, of which the second calls everything by another name."""
    folder = tmp_path_factory.mktemp("two")
    made = []
    for version, turned in (("1.0", 0), ("2.0", 1)):
        changes = renamed(signflow_archive, "signflow", version)
        contract = json.loads(changes["contract.json"])
        labels = contract["labels"][turned:] + contract["labels"][:turned]
        changes["contract.json"] = json.dumps(contract | {"labels": labels}).encode()
        made.append(recertified(signflow_archive, folder / f"signflow-{version}.mar", changes))
    return made[0], made[1]


@pytest.fixture(scope="module")
def recordings(two: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips of four people, which mean what the first archive says."""
    from tests.families.signflow import frames_of, made_up
    from training.signflow.fit import probabilities

    sequences = [frames_of(5, seed) for seed in range(40)]
    model = made_up()
    said = np.array(model.labels)[probabilities(model.model, tuple(sequences)).argmax(1)]
    file = tmp_path_factory.mktemp("recordings") / "said.npz"
    np.savez(file, X=np.concatenate(sequences), len=np.full(40, 5), y=said, source=np.arange(40) % 4)
    return file


def test_who_is_right_is_told_with_its_cost_and_drawn(
    two: tuple[Path, Path], recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, models = tmp_path / "page.html", ",".join(map(str, two))
    assert evaluate_models.main(["--models", models, "--data", str(recordings), "--out", str(page)]) == 0
    told = capsys.readouterr().out
    rows = {line[: line.index("  ")]: line.split()[-3:] for line in told.splitlines() if "  " in line}
    assert rows["accuracy"] == ["1", "0", "-1"]
    assert float(rows["MFLOP"][-1]) > 0
    assert "lost 40 that signflow 1.0 had right and gained 0: -100.00 points" in told
    assert "It is worse." in told
    assert "measured in process" in page.read_text()
    assert "<svg" in page.read_text()


def test_a_picture_may_be_asked_for(two: tuple[Path, Path], recordings: Path, tmp_path: Path) -> None:
    drawn, models = tmp_path / "drawn.png", ",".join(map(str, two))
    assert evaluate_models.main(["--models", models, "--data", str(recordings), "--out", str(drawn)]) == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("models", "told"), [("signflow:1.0", "expected --data PATH"), ("a:1,b:1,c:1", "or two")])
def test_one_model_with_data_or_two_are_expected(models: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate_models.main(["--models", models, "--data", "synthetic"])
    assert told in capsys.readouterr().err


def test_missing_data_is_named(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", ",".join(map(str, two)), "--data", str(tmp_path / "none.npz")]
    assert evaluate_models.main(arguments) == 1
    assert "none.npz" in capsys.readouterr().err

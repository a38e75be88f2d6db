import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from archives.archive import open_archive
from archives.certificate import Case, CertificateError
from marina.settings import ROOT
from tests.archives.rewrite import members_of
from tests.families.signflow import releases
from training.packaging.archive import build

BUILD = """
from pathlib import Path
from tests.families.signflow import made_up
from training.packaging.archive import build
from training.signflow.release import release
print(build(release(made_up(), "1.0"), Path("store")).sha256)
"""


def test_two_builds_in_two_folders_at_two_times_are_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for number, zone in enumerate(("UTC", "Asia/Kathmandu")):
        folder = tmp_path / f"build{number}" / ("deep" * number)
        (folder / "tmp").mkdir(parents=True)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp"), "TZ": zone}
        env["PYTHONHASHSEED"] = str(number + 1)
        done = subprocess.run(
            [sys.executable, "-c", BUILD], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split()[-1])
    assert digests[0] == digests[1]


def test_nothing_in_an_archive_names_the_machine_it_was_built_on(signflow_archive: Path) -> None:
    for name, content in members_of(signflow_archive).items():
        for trace in (str(ROOT), str(signflow_archive.parent), str(Path.home())):
            if len(trace) > 5:
                assert trace.encode() not in content, f"{name} names {trace}"


def test_an_archive_brings_the_code_that_serves_it_and_no_training_code(signflow_archive: Path) -> None:
    code = {name for name in members_of(signflow_archive) if name.endswith(".py")}
    assert {"service.py", "handlers/base.py", "handlers/signflow.py", "models/signflow/sequences.py"} <= code
    assert "models/signflow/network.py" not in code
    assert not any(name.startswith("training/") for name in code)


def test_provenance_and_bill_of_materials_say_what_made_it(signflow_archive: Path) -> None:
    members = members_of(signflow_archive)
    provenance = json.loads(members["provenance.json"])
    assert provenance["data_manifest_sha256"] and provenance["git_commit"] and provenance["packages"]["torch"]
    components = {one["name"] for one in json.loads(members["sbom.json"])["components"]}
    assert {"torch", "torchserve", "onnxruntime", "numpy"} <= components
    assert "pytest" not in components


def test_an_export_that_answers_otherwise_than_the_trained_model_is_not_built(tmp_path: Path) -> None:
    honest = releases()["signflow"]
    case = honest.cases[2]
    logits: npt.NDArray[Any] = case.outputs["logits"]
    moved = Case(case.name, case.inputs, {"logits": logits + 2e-4})
    with pytest.raises(CertificateError, match=r"golden input 'sequence_2' is off by 0\.0002"):
        build(replace(honest, cases=(moved,)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_golden_inputs_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="needs at least one golden input"):
        build(replace(releases()["signflow"], cases=()), tmp_path)


def test_building_replaces_the_archive_of_the_same_version(signflow_archive: Path) -> None:
    assert [path.name for path in signflow_archive.parent.iterdir()] == ["signflow-1.0.mar"]
    open_archive(signflow_archive)

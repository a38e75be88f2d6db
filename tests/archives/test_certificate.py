from pathlib import Path

import numpy as np
import onnx
import pytest

from archives.certificate import CertificateError, check_hashes, read_cases
from archives.contract import ArchiveError, read_contract
from archives.store import newest, pack, stored, unpack
from handlers.signflow import SignFlowHandler
from tests.archives.rewrite import members_of, recertified, rewritten
from tests.handlers.context import Context


def unpacked(path: Path, folder: Path) -> Path:
    unpack(path, folder)
    return folder


def with_moved_weight(path: Path, by: float) -> bytes:
    graph = onnx.load_model_from_string(members_of(path)["model.onnx"])
    weight = next(one for one in graph.graph.initializer if one.name.endswith("classifier.bias"))
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0] += by
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return bytes(graph.SerializeToString())


def test_a_worker_loads_what_was_certified(signflow_archive: Path, tmp_path: Path) -> None:
    SignFlowHandler().initialize(Context(unpacked(signflow_archive, tmp_path)))


def test_a_worker_refuses_an_altered_file(signflow_archive: Path, tmp_path: Path) -> None:
    folder = unpacked(signflow_archive, tmp_path)
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[-100] ^= 1
    (folder / "model.onnx").write_bytes(graph)
    with pytest.raises(CertificateError, match=r"model\.onnx was altered after certification"):
        SignFlowHandler().initialize(Context(folder))


def test_a_worker_refuses_other_weights_under_forged_hashes(signflow_archive: Path, tmp_path: Path) -> None:
    forged = recertified(
        signflow_archive, tmp_path / "f.mar", {"model.onnx": with_moved_weight(signflow_archive, 0.01)}
    )
    with pytest.raises(CertificateError, match=r"'logits' of golden input '\w+' is off by 0\.01, tolerance 0\.0001"):
        SignFlowHandler().initialize(Context(unpacked(forged, tmp_path / "forged")))


def test_a_worker_refuses_added_and_missing_files(signflow_archive: Path, tmp_path: Path) -> None:
    folder = unpacked(signflow_archive, tmp_path)
    (folder / "handlers" / "added.py").write_text("")
    with pytest.raises(CertificateError, match=r"handlers/added\.py is not certified"):
        check_hashes(folder)
    (folder / "handlers" / "added.py").unlink()
    (folder / "reference.npz").unlink()
    with pytest.raises(CertificateError, match=r"reference\.npz is certified but missing"):
        check_hashes(folder)


def test_a_graph_that_does_not_load_is_refused_with_the_engines_words(signflow_archive: Path, tmp_path: Path) -> None:
    broken = recertified(signflow_archive, tmp_path / "b.mar", {"model.onnx": b"not a graph"})
    with pytest.raises(ArchiveError, match=r"ONNX Runtime does not load signflow 1\.0: "):
        SignFlowHandler().initialize(Context(unpacked(broken, tmp_path / "broken")))


def test_a_graph_with_other_inputs_than_promised_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(members_of(signflow_archive)["model.onnx"])
    contract = members_of(signflow_archive)["contract.json"].replace(b'"name": "lengths"', b'"name": "durations"')
    changes = {"model.onnx": graph.SerializeToString(), "contract.json": contract}
    other = recertified(signflow_archive, tmp_path / "o.mar", changes)
    with pytest.raises(ArchiveError, match=r"contract\.json declares"):
        SignFlowHandler().initialize(Context(unpacked(other, tmp_path / "other")))


def test_golden_inputs_cover_one_frame_and_a_padded_batch(signflow_archive: Path, tmp_path: Path) -> None:
    cases = read_cases(unpacked(signflow_archive, tmp_path) / "certificate.npz")
    assert any(case.inputs["landmarks"].shape[1] == 1 for case in cases)
    assert any(len(np.unique(case.inputs["lengths"])) > 1 for case in cases)


def test_an_unreadable_contract_says_what_to_do(signflow_archive: Path, tmp_path: Path) -> None:
    folder = unpacked(signflow_archive, tmp_path)
    text = (folder / "contract.json").read_text().replace('"format": 1', '"format": 7')
    (folder / "contract.json").write_text(text)
    with pytest.raises(ArchiveError, match=r"format 7, this code reads \[1\]; serve it with the release that built it"):
        read_contract(folder / "contract.json")


def test_the_linter_keeps_an_altered_archive_from_being_unpacked(signflow_archive: Path, tmp_path: Path) -> None:
    altered = rewritten(signflow_archive, tmp_path / "a.mar", {"service.py": b"import os\n"})
    with pytest.raises(ArchiveError, match=r"service\.py: altered"):
        unpack(altered, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_packing_something_unclean_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="missing"):
        pack({"model.onnx": b""}, tmp_path / "store" / "signflow-1.0.mar")
    assert not (tmp_path / "store").exists()


def test_the_newest_version_is_the_highest_number_not_the_last_word(tmp_path: Path) -> None:
    for name in ("signflow-9.0.mar", "signflow-10.0.mar", "catalog-1.2.mar"):
        (tmp_path / name).touch()
    assert [(one.model, one.version) for one in newest(tmp_path)] == [("catalog", "1.2"), ("signflow", "10.0")]


def test_a_name_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"expected a name like signflow-1\.0\.mar"):
        stored(tmp_path / "model.mar")

import io
import json
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archives.archive import MAX_BYTES, open_archive
from archives.certificate import write_npz, zip_entry
from archives.contract import ArchiveError
from archives.linter import lint
from tests.archives.rewrite import members_of, recertified, rewritten, write
from tests.serving import archive

MANIFEST, SERVING = "MAR-INF/MANIFEST.json", "model-config.yaml"


class Bomb:
    """Explodes when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (pytest.fail, ("the linter unpickled something",))


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as container:
        for name, content in members.items():
            entry = zip_entry(name)
            entry.compress_type = how
            container.writestr(entry, content)
    return stream.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=allow_pickle)
    return stream.getvalue()


def announcing(shape: tuple[int, ...]) -> bytes:
    """Return a `.npy` of a few bytes whose header announces an array of this shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 64


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive that the linter passes."""
    return archive(tmp_path_factory.mktemp("honest"))


def findings(path: Path) -> list[str]:
    return lint(path.read_bytes())


def test_a_built_archive_is_clean(signflow_archive: Path) -> None:
    assert findings(signflow_archive) == []


OBJECTS = zipped({"bomb.npy": npy(np.array([Bomb()], dtype=object), allow_pickle=True)})


@pytest.mark.parametrize(
    ("member", "content", "finding"),
    [
        ("weights.pkl", pickle.dumps(Bomb()), "weights.pkl: unknown member"),
        ("model.pt2", b"", "model.pt2: torch.export programs are not served"),
        ("reference.npz", OBJECTS, "reference.npz: not plain arrays: bomb.npy: elements of type object"),
        ("reference.npz", pickle.dumps(Bomb()), "reference.npz: is a pickle"),
        ("../../etc/cron.d/x", b"", "../../etc/cron.d/x: path escapes"),
        ("/etc/passwd", b"", "/etc/passwd: path escapes"),
        ("models\\x.py", b"", "models\\x.py: path escapes"),
        ("notes.txt", b"hello", "notes.txt: unknown member"),
        ("Service.py", b"", "Service.py: unknown member"),
        ("handlers/sub/deep/x.py", b"", "handlers/sub/deep/x.py: unknown member"),
        ("numpy/__init__.py", b"", "numpy/__init__.py: unknown member"),
        ("handlers/extra.py", b"def f(:\n", "handlers/extra.py: is not Python"),
        ("handlers/extra.py", b"-" * 1_000_000 + b"1", "handlers/extra.py: is not Python"),
        ("handlers/extra.py", b"pass\n", "handlers/extra.py: not certified"),
        ("contract.json", b"{", "contract.json: is not JSON"),
        ("contract.json", b"[]", "contract.json: expected a JSON object, found list"),
        ("contract.json", b'{"format": 99}', "contract.json: format 99"),
        ("contract.json", b'{"format": 1}', "contract.json: does not describe a contract"),
        ("certificate.json", b'{"format": 1}', "certificate.json: names no hashes"),
        ("example.json", b"[" * 100_000, "example.json: is not JSON"),
        ("example.json", b'{"a":' * 80 + b"1" + b"}" * 80, "example.json: nested more than 64 deep"),
        ("example.json", b'{"a": 1, "a": 2}', "example.json: is not JSON: a key appears more than once"),
        ("example.json", '{"a": 1}'.encode("utf-16"), "example.json: is not JSON"),
    ],
)
def test_what_does_not_belong_is_refused(
    honest: Path, tmp_path: Path, member: str, content: bytes, finding: str
) -> None:
    altered = rewritten(honest, tmp_path / honest.name, {member: content})
    assert any(finding in one for one in findings(altered)), findings(altered)


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("import pickle", "line 1 imports pickle"),
        ("from pickle import loads", "imports pickle"),
        ("import importlib.util", "imports importlib.util"),
        ("import subprocess", "imports subprocess"),
        ("import ctypes", "imports ctypes"),
        ("from os import system", "imports os.system"),
        ("\nimport os\nos.system('id')", "line 3 uses os.system"),
        ("os.popen('id')", "uses os.popen"),
        ("os.execv('/bin/sh', [])", "uses os.execv"),
        ("os.spawnlp(1, 'sh')", "uses os.spawnlp"),
        ("__import__('pickle')", "uses __import__"),
        ("run = eval", "uses eval"),
        ("exec('1')", "uses exec"),
        ("().__class__.__base__.__subclasses__()", "uses __subclasses__"),
        ("f.__globals__", "uses __globals__"),
        ("np.load(file, allow_pickle=True)", "sets allow_pickle"),
        ("np.load(file, allow_pickle=yes)", "sets allow_pickle"),
        ("torch.load(file)", "uses torch.load"),
        ("yaml.load(text, yaml.Loader)", "uses yaml.load"),
    ],
)
def test_code_that_handlers_never_need_trips_the_wire(honest: Path, tmp_path: Path, code: str, finding: str) -> None:
    altered = recertified(honest, tmp_path / honest.name, {"service.py": code.encode()})
    assert any(one.startswith("service.py: line") and finding in one for one in findings(altered)), findings(altered)


@pytest.mark.parametrize("code", ["re.compile('a')", "model.eval()", "np.load(file, allow_pickle=False)", "os.open(a)"])
def test_code_of_the_usual_kind_does_not(honest: Path, tmp_path: Path, code: str) -> None:
    assert findings(recertified(honest, tmp_path / honest.name, {"service.py": code.encode()})) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"minWorkers": 1000}, "minWorkers: expected a whole number from 1 to 64, got 1000"),
        ({"minWorkers": 2, "maxWorkers": 1}, "maxWorkers: expected at least minWorkers"),
        ({"batchSize": 0}, "batchSize: expected"),
        ({"responseTimeout": True}, "responseTimeout: expected"),
        ({"clientTimeoutInMills": 1}, "clientTimeoutInMills: expected one of batchSize"),
        ({"asyncCommunication": True}, "asyncCommunication: expected one of"),
        ({"parallelType": "pp"}, "parallelType: expected one of"),
        ({"runtimeType": "LSP"}, "runtimeType: expected one of"),
        ({"torchrun": {"nproc-per-node": 4}}, "torchrun: expected one of"),
        ({"handler": "os:system"}, "handler: expected settings by name"),
    ],
)
def test_only_known_settings_within_bounds_are_served(
    honest: Path, tmp_path: Path, changes: dict[str, object], finding: str
) -> None:
    asked = {"minWorkers": 1, "maxWorkers": 64, "batchSize": 8} | changes
    altered = recertified(honest, tmp_path / honest.name, {SERVING: json.dumps(asked).encode()})
    assert any(f"{SERVING}: {finding}" in one for one in findings(altered)), findings(altered)


@pytest.mark.parametrize(
    "text",
    [
        "batchSize: 1\nbatchSize: 2\n",
        "handler: {a: &a [1, 2], b: *a}\n",
        "handler: {a: !!python/object/apply:os.system [id]}\n",
        "%YAML 1.1\n---\nbatchSize: 1\n",
        "handler: " + "[" * 20 + "]" * 20,
        "handler: " + "[" * 16_000,
        "batchSize: 1\n---\nbatchSize: 2\n",
        "- 1\n",
        "",
        "\0",
        "x: " + "x" * 16_384,
    ],
)
def test_settings_that_two_parsers_could_read_differently_are_refused(honest: Path, tmp_path: Path, text: str) -> None:
    altered = recertified(honest, tmp_path / honest.name, {SERVING: text.encode()})
    assert any(one.startswith(f"{SERVING}: ") for one in findings(altered)), findings(altered)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"model": []}, "expected a manifest"),
        ({"runtime": "LSP"}, "expected a manifest"),
        ({"workflow": {}}, "workflow: unknown"),
        ({"model": {"handler": "os:system"}}, "expected the handler service.py:handle"),
        ({"model": {"requirementsFile": "requirements.txt"}}, "requirementsFile: unknown"),
        ({"model": {"extensions": "x.so"}}, "extensions: unknown"),
        ({"model": {"serializedFile": "model.pt"}}, "expected model.onnx"),
        ({"model": {"configFile": "other.yaml"}}, "expected the handler service.py:handle and the settings"),
        ({"model": {"modelVersion": "9.0"}}, "is of echo 9.0, contract.json of echo 1.0"),
        ({"model": {"modelName": 5}}, "expected text"),
    ],
)
def test_a_manifest_says_what_ours_say_and_nothing_else(
    honest: Path, tmp_path: Path, changes: dict[str, object], finding: str
) -> None:
    manifest = json.loads(members_of(honest)[MANIFEST])
    model = changes.get("model", {})
    parts = {**manifest["model"], **model} if isinstance(model, dict) else model
    altered = recertified(
        honest, tmp_path / honest.name, {MANIFEST: json.dumps({**manifest, **changes, "model": parts}).encode()}
    )
    assert any(f"{MANIFEST}: {finding}" in one for one in findings(altered)), findings(altered)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"model"', b"{}"])
def test_a_manifest_that_is_none_is_refused(honest: Path, tmp_path: Path, content: bytes) -> None:
    altered = recertified(honest, tmp_path / honest.name, {MANIFEST: content})
    assert any(one.startswith(f"{MANIFEST}: expected") for one in findings(altered)), findings(altered)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (zipped({"a.npy": announcing((2**40,))}), "announces 1099511627776 of float64, and has 64 bytes"),
        (zipped({"a.npy": announcing((2**20, 2**20, 2**20))}), "announces"),
        (zipped({"a.npy": announcing((0, 10**20))}), "announces 0 x 100000000000000000000"),
        (zipped({"a.npy": announcing((1,) * 65)}), "announces"),
        (zipped({"a.npy": npy(np.zeros(2**22))}, zipfile.ZIP_DEFLATED), "a.npy: is compressed"),
        (zipped({"a.npy": b"\x93NUMPY\x09\x00"}), "expected .npy of version 1.0"),
        (zipped({"a.npy": b"\x93NUMPY\x01\x00\xff\x3f" + b"(" * 16_383}), "a.npy"),
        (zipped({f"{number}.npy": b"" for number in range(5000)}), "5000 members, at most 4096"),
    ],
)
def test_arrays_are_measured_by_their_headers_before_they_are_read(
    honest: Path, tmp_path: Path, content: bytes, finding: str
) -> None:
    altered = recertified(honest, tmp_path / honest.name, {"reference.npz": content})
    assert any(one.startswith("reference.npz: not plain arrays") and finding in one for one in findings(altered))


def test_plain_arrays_of_every_kind_pass(honest: Path, tmp_path: Path) -> None:
    arrays = {
        "flag": np.array([True]),
        "text": np.array(["a", "bc"]),
        "none": np.zeros((0, 3)),
        "one": np.array(1, np.float32),
    }
    altered = recertified(honest, tmp_path / honest.name, {"reference.npz": write_npz(arrays)})
    assert findings(altered) == []


@pytest.mark.parametrize("member", ["model.onnx", "certificate.json", "contract.json", "example.json", "service.py"])
def test_a_missing_member_is_named(honest: Path, tmp_path: Path, member: str) -> None:
    members = members_of(honest)
    del members[member]
    assert f"{member}: missing" in findings(write(members, tmp_path / honest.name))


def test_one_flipped_byte_is_found(signflow_archive: Path, tmp_path: Path) -> None:
    graph = bytearray(members_of(signflow_archive)["model.onnx"])
    graph[len(graph) // 2] ^= 1
    altered = rewritten(signflow_archive, tmp_path / "signflow-1.0.mar", {"model.onnx": bytes(graph)})
    with pytest.raises(ArchiveError, match=r"model\.onnx: altered after certification"):
        open_archive(altered)


def test_a_symbolic_link_is_refused(honest: Path, tmp_path: Path) -> None:
    path = write(members_of(honest), tmp_path / honest.name)
    link = zip_entry("handlers/link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as container:
        container.writestr(link, "/etc/passwd")
    assert "handlers/link.py: is a symbolic link" in findings(path)


def test_a_member_twice_is_refused(honest: Path, tmp_path: Path) -> None:
    path = write(members_of(honest), tmp_path / honest.name)
    with zipfile.ZipFile(path, "a") as container, pytest.warns(UserWarning, match="Duplicate name"):
        container.writestr(zip_entry("service.py"), "import os")
    assert "service.py: appears more than once" in findings(path)


def test_a_member_that_only_a_reader_of_headers_would_see_is_refused(honest: Path, tmp_path: Path) -> None:
    """Java reads from one header to the next, Python the directory at the end: what only one of them sees."""
    content = honest.read_bytes()
    hidden = zip_entry("handlers/hidden.py")
    hidden.file_size = hidden.compress_size = 4
    hidden.CRC = zlib.crc32(b"pass")
    smuggled = hidden.FileHeader() + b"pass"
    end = content.rindex(b"PK\5\6")
    place = int.from_bytes(content[end + 16 : end + 20], "little")
    moved = (place + len(smuggled)).to_bytes(4, "little")
    path = tmp_path / honest.name
    path.write_bytes(content[:place] + smuggled + content[place : end + 16] + moved + content[end + 20 :])
    assert "there are bytes between its members and its directory" in findings(path)
    with zipfile.ZipFile(path) as container:
        assert container.testzip() is None, "Python sees nothing of it"


@pytest.mark.parametrize("field", ["name", "size"])
def test_headers_that_contradict_the_directory_are_refused(honest: Path, tmp_path: Path, field: str) -> None:
    content = bytearray(honest.read_bytes())
    last_header = content.rindex(b"PK\3\4")
    place = last_header + {"name": 30, "size": 22}[field]
    content[place] ^= 1
    path = tmp_path / honest.name
    path.write_bytes(content)
    assert "service.py: its header differs from its directory entry" in findings(path)


def test_what_follows_or_precedes_an_archive_is_refused(honest: Path, tmp_path: Path) -> None:
    path = tmp_path / honest.name
    for content in (honest.read_bytes() + b"\0", b"#!/bin/sh\n" + honest.read_bytes()):
        path.write_bytes(content)
        assert findings(path) != []


def test_a_member_that_unpacks_to_more_than_it_is_is_refused(honest: Path, tmp_path: Path) -> None:
    path = write(members_of(honest), tmp_path / honest.name)
    graph = zip_entry("handlers/zeros.py")
    graph.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a") as container, container.open(graph, "w") as member:
        for _ in range(64):
            member.write(bytes(2**20))
    with pytest.raises(ArchiveError, match=r"handlers/zeros\.py: is compressed"):
        open_archive(path)


def test_a_file_that_is_too_large_is_not_even_read(honest: Path, tmp_path: Path) -> None:
    path = tmp_path / honest.name
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ArchiveError, match="at most 1,073,741,824 are allowed"):
        open_archive(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file at all" * 10, b"PK\5\6" + b"\xff" * 18])
def test_other_files_are_not_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signflow-1.0.mar"
    path.write_bytes(content)
    assert findings(path)


def test_every_half_of_a_copy_is_refused(honest: Path, tmp_path: Path) -> None:
    content = honest.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 50)):
        assert lint(content[:length]), length


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe-1.0.mar")
    for path in (tmp_path / "pipe-1.0.mar", tmp_path, Path("/dev/zero")):
        with pytest.raises(ArchiveError, match="is no file"):
            open_archive(path)
    with pytest.raises(ArchiveError, match="does not exist"):
        open_archive(tmp_path / "signflow-1.0.mar")

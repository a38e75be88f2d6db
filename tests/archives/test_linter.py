import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archives.certificate import zip_entry
from archives.contract import ArchiveError
from archives.linter import lint, refuse_unclean
from tests.archives.rewrite import members_of, rewritten, write


class Bomb:
    """Explodes when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (pytest.fail, ("the linter unpickled something",))


def objects_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, bomb=np.array([Bomb()], dtype=object))
    return stream.getvalue()


def test_a_built_archive_is_clean(signflow_archive: Path) -> None:
    assert lint(signflow_archive) == []


@pytest.mark.parametrize(
    ("member", "content", "finding"),
    [
        ("weights.pkl", pickle.dumps(Bomb()), "weights.pkl: unknown member"),
        ("reference.npz", objects_npz(), "reference.npz: not plain arrays"),
        ("reference.npz", pickle.dumps(Bomb()), "reference.npz: is a pickle"),
        ("../../etc/cron.d/x", b"", "../../etc/cron.d/x: path escapes"),
        ("/etc/passwd", b"", "/etc/passwd: path escapes"),
        ("models\\x.py", b"", "models\\x.py: path escapes"),
        ("notes.txt", b"hello", "notes.txt: unknown member"),
        ("handlers/sub/deep/x.py", b"", "handlers/sub/deep/x.py: unknown member"),
        ("numpy/__init__.py", b"", "numpy/__init__.py: unknown member"),
        ("handlers/extra.py", b"import pickle\n", "handlers/extra.py: line 1 imports pickle"),
        ("handlers/extra.py", b"def f(:\n", "handlers/extra.py: is not Python"),
        ("contract.json", b"{", "contract.json: is not JSON"),
        ("contract.json", b'{"format": 99}', "contract.json: format 99"),
        ("handlers/extra.py", b"pass\n", "handlers/extra.py: not certified"),
    ],
)
def test_what_does_not_belong_is_refused(
    signflow_archive: Path, tmp_path: Path, member: str, content: bytes, finding: str
) -> None:
    altered = rewritten(signflow_archive, tmp_path / "signflow-1.0.mar", {member: content})
    assert any(finding in one for one in lint(altered)), lint(altered)


@pytest.mark.parametrize("member", ["model.onnx", "certificate.json", "contract.json", "example.json", "service.py"])
def test_a_missing_member_is_named(signflow_archive: Path, tmp_path: Path, member: str) -> None:
    members = members_of(signflow_archive)
    del members[member]
    assert f"{member}: missing" in lint(write(members, tmp_path / "signflow-1.0.mar"))


def test_one_flipped_byte_is_found(signflow_archive: Path, tmp_path: Path) -> None:
    graph = bytearray(members_of(signflow_archive)["model.onnx"])
    graph[len(graph) // 2] ^= 1
    altered = rewritten(signflow_archive, tmp_path / "signflow-1.0.mar", {"model.onnx": bytes(graph)})
    with pytest.raises(ArchiveError, match=r"model\.onnx: altered after certification"):
        refuse_unclean(altered)


def test_a_pickle_inside_the_fallback_program_is_found(signflow_archive: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as program:
        program.writestr(zip_entry("archive/data/sample_inputs/model.pt"), pickle.dumps(Bomb()))
    altered = rewritten(signflow_archive, tmp_path / "signflow-1.0.mar", {"model.pt2": stream.getvalue()})
    assert any("is pickled by torch.save" in one for one in lint(altered))


def test_a_symbolic_link_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "signflow-1.0.mar"
    write(members_of(signflow_archive), path)
    link = zip_entry("handlers/link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "handlers/link.py: is a symbolic link" in lint(path)


def test_a_member_twice_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "signflow-1.0.mar"
    write(members_of(signflow_archive), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(zip_entry("service.py"), "import os")
    assert "service.py: appears more than once" in lint(path)


def test_a_bomb_is_refused_before_it_is_unpacked(signflow_archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "signflow-1.0.mar"
    write(members_of(signflow_archive), path)
    # Only the announced size grows: were it unpacked, the linter would report a bad zip file instead.
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("model.onnx").file_size = 5 * 1024**3
        archive._didModify = True  # writes the central directory anew
    assert any("unpacks to" in one for one in lint(path))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file at all" * 10])
def test_other_files_are_not_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signflow-1.0.mar"
    path.write_bytes(content)
    assert "is not a readable .mar" in lint(path)[0]


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    assert "does not exist" in lint(tmp_path / "signflow-1.0.mar")[0]

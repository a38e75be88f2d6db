import hashlib
import zipfile
from pathlib import Path

from rollout import batching, torchserve

SERVER_JAR = torchserve.installed() / "frontend" / "model-server.jar"


def test_the_installed_class_is_overridden_in_one_byte(tmp_path: Path) -> None:
    before = hashlib.sha256(SERVER_JAR.read_bytes()).hexdigest()
    prepared = batching.prepare(SERVER_JAR, tmp_path / "override.jar")
    assert (prepared.override, prepared.delay_ms, prepared.notice) == (tmp_path / "override.jar", 0, "")
    with zipfile.ZipFile(SERVER_JAR) as stock, zipfile.ZipFile(tmp_path / "override.jar") as override:
        assert override.namelist() == [batching.CLASS]
        old, new = stock.read(batching.CLASS), override.read(batching.CLASS)
    assert len(old) == len(new)
    assert [(was, now) for was, now in zip(old, new, strict=True) if was != now] == [(0x9D, 0x9C)]  # ifgt, ifge
    assert hashlib.sha256(SERVER_JAR.read_bytes()).hexdigest() == before


def test_any_other_class_is_left_alone_and_this_is_said(tmp_path: Path) -> None:
    other = tmp_path / "other.jar"
    with zipfile.ZipFile(SERVER_JAR) as stock, zipfile.ZipFile(other, "w") as jar:
        jar.writestr(batching.CLASS, stock.read(batching.CLASS) + b"\0")
    prepared = batching.prepare(other, tmp_path / "override.jar")
    assert (prepared.override, prepared.delay_ms) == (None, 2)
    assert "torchserve==0.12.0" in prepared.notice
    assert not (tmp_path / "override.jar").exists()

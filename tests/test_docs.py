"""Each page of docs/ says what it is and for whom, is narrow enough to be read as text, and names files that exist."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import program_help
from tests.serving import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
KINDS = ("Tutorial", "How-to", "Reference", "Explanation")
WIDTH = 120


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> Iterator[str]:
    """Yield the lines that are neither code nor a table's nor a picture's."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith(("|", "    ", "!")):
            yield line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_says_what_it_is_for_whom_and_which_command_it_is_about(page: Path) -> None:
    title, empty, about = page.read_text().split("\n\n")[0], *page.read_text().split("\n")[1:3]
    assert title.startswith("# ") and not empty
    assert re.match(rf"\*({'|'.join(KINDS)}), for \w+", about), about
    paragraph = page.read_text().split("\n\n")[1]
    assert re.search(r"Commands?:\s.*`", paragraph, re.S) and paragraph.endswith("*"), paragraph


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "archives" / "README.md", *PAGES], ids=name)
def test_lines_are_wrapped(page: Path) -> None:
    assert [line for line in prose(page) if len(line) > WIDTH] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "ADD_A_FAMILY.md"], ids=name)
def test_a_module_that_a_page_names_is_a_link_to_its_file(page: Path) -> None:
    """Links are followed by tests/test_readme.py; what is left here is a path without one."""
    named = re.findall(r"(?<!\[)`((?:\w+/)+\w+\.(?:py|yaml|sh))`", "\n".join(prose(page)))
    assert [path for path in named if (ROOT / path.split("/")[0]).is_dir()] == []


def test_every_section_of_figures_has_a_command_a_machine_and_a_date() -> None:
    """A section of PERFORMANCE names them in its text or in its rows."""
    for section in (ROOT / "docs" / "PERFORMANCE.md").read_text().split("\n## ")[1:]:
        assert re.search(r"`(?:[A-Z_]+=\S+ )?(?:python|make|wrk|\.venv/bin/python)|^python", section, re.M), section[
            :80
        ]
        assert re.search(r"2026-\d\d-\d\d|efore\s+November\s+2026", section), section[:80]
        assert re.search(r"Turin|Xeon|EPYC", section), section[:80]


def test_the_documentation_index_names_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs" and f"docs/{page.name}" not in readme] == []


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading.strip().lower())).replace(" ", "-")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_a_link_to_a_section_leads_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)]+)\)", page.read_text()):
        linked = (page.parent / target) if target else page
        if linked.suffix == ".md":
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", linked.read_text(), re.M)), f"{target}#{anchor}"


@pytest.mark.parametrize("recipe", sorted((ROOT / "runs").glob("*.sh")), ids=name)
def test_a_recipe_is_a_script_of_commands_that_exist(recipe: Path) -> None:
    done = subprocess.run(["bash", "-n", str(recipe)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"^python (scripts/\S+\.py|-m marina\.\w+ \w+)(.*)$", recipe.read_text(), re.M)
    assert len(commands) > 5
    asked = [f"{program} budget" if '"$FAMILY"' in options else program for program, options in commands]
    said = program_help.ask(dict.fromkeys(asked))
    for program, (_, options) in zip(asked, commands, strict=True):
        code, words = said[program]
        assert code == 0, words
        assert [option for option in re.findall(r"--[a-z-]+", options) if option not in words] == []

"""Plain standard English: words that are not written here, each with what is written instead.

Only those that can be found without reading the sentence are listed; docs/GLOSSARY.md has the terms that stay.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.serving import ROOT

PAGES = ("README.md", "archives/README.md", "NOTICE", "docs/**/*.md", "runs/*.sh")
CODE = (
    *(f"{folder}/**/*.py" for folder in ("archives", "benchmarks", "demo", "handlers", "marina", "models")),
    *(f"{folder}/**/*.py" for folder in ("scripts", "training")),
    *("deploy/**/*.*", "demo/*.yaml", "marina/**/*.yaml"),
    *(
        "Dockerfile.gpu",
        "Dockerfile.orchestrator",
        "Makefile",
        "config.properties",
        "docker-compose.prod.yml",
        "settings.example.env",
    ),
)
"""Files, as patterns from the project's root."""

WORDS = {
    r"council": "voting ensemble",
    r"ill": "faulty, unhealthy",
    r"in any company": "regardless of the rest of the batch",
    r"in \S+ stead": "instead of",
    r"(is|are|was|were) away": "unavailable",
    r"what it goes by": "feature attribution, what the model relies on",
    r"what bec(ame|omes) of": "outcomes of, what happens to",
    r"heard of": "last seen",
    r"anew": "again, from scratch",
    r"persons": "people",
    r"nobody('s)?": "no one, no client",
    r"somebody": "the caller, an operator",
    r"whoever": "anyone who",
    r"everybody('s)?": "all",
    r"for ever": "indefinitely",
    r"all the same": "anyway",
    r"otherwise than": "differently from",
    r"in hand": "in flight",
    r"by hand": "manually",
    r"(tells?|told|telling) apart": "distinguishes",
    r"(tells?|told|telling) \w+ apart": "distinguishes",
    r"looks on": "keeps polling",
    r"silent version|in silence": "shadow version, shadowed",
    r"companions?": "sidecar",
    r"turn(s|ed|ing)? away": "drain, stop routing to",
    r"whole_at": "all_ready_since",
    r"unproven": "unverified",
    r"made-up": "synthetic, simulated",
    r"in words": "as text",
    r"walks? the whole way": "go through the pipeline",
    r"the house|the rooms": "repository layout, packages",
    r"gives? everything back": "rolls back",
    r"what there is no archive of": "models without an archive",
    r"oddit(y|ies)": "anomalies",
    r"steers?": "controls",
    r"mend(s|ed|ing)?": "fixes",
    r"goes on|go on": "continues",
    r"seals": "hashes",
}
"""Regular expressions of whole words, in lower case, and what is standard."""


PROSE_ONLY = {
    r"in words",  # for word in words
    r"silent version|in silence",  # the stored comment of a table
}
"""Those that have another meaning in code."""

NAMES = {
    "drawn": "sample, plot, render",
    "lacking": "missing, unsupported",
    "lacks": "missing",
    "met": "observed",
    "picked": "routed, selected",
    "proven": "verified",
    "say": "log",
    "stated": "described, given",
    "told": "reported, described, the noun",
}
"""Parts of the names in Python code, in lower case, and what is standard."""


def files(patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern) if "__pycache__" not in path.parts})


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def find(text: str, words: dict[str, str]) -> list[str]:
    """Return the words that a text should not have, with their lines."""
    found = []
    for word, standard in words.items():
        pattern = r"\s+(?:#\s+)?".join(word.split(" "))  # a phrase may go over two lines of a comment
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text.lower()):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"line {line}: {match.group(0)!r}; write: {standard}")
    return found


def find_names(text: str, names: dict[str, str]) -> list[str]:
    """Return the names of Python code that have a part they should not have, with their lines."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", token.string).lower().split("_")
            for part in names.keys() & parts:
                found.append(f"line {token.start[0]}: {token.string!r}; write: {names[part]}")
    return found


@pytest.mark.parametrize("path", files(PAGES), ids=name)
def test_pages_have_only_standard_words(path: Path) -> None:
    assert find(path.read_text(), WORDS) == []


@pytest.mark.parametrize("path", files(CODE), ids=name)
def test_code_has_only_standard_words(path: Path) -> None:
    text = path.read_text()
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text)  # those of names are words too
    single = {word: standard for word, standard in WORDS.items() if " " not in word}
    phrases = {word: standard for word, standard in WORDS.items() if " " in word and word not in PROSE_ONLY}
    assert find(parts, single) + find(text, phrases) == []
    if path.suffix == ".py":
        assert find_names(text, NAMES) == []


def test_words_are_found_over_lines_and_in_names() -> None:
    assert find("# it goes\n    # on", WORDS) == ["line 1: 'goes\\n    # on'; write: continues"]
    assert find_names("class LackingError: pass", NAMES) == ["line 1: 'LackingError'; write: missing, unsupported"]

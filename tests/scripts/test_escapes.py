"""Words of an archive reach no terminal as orders, whichever script refuses it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from archives.contract import ArchiveError
from benchmarks import archives
from scripts import evaluate_models, sign_archive
from tests.archives.rewrite import rewritten
from tests.serving import archive
from training import cli

MEMBER = "\x1b[2J\x1b]0;owned\x07\u202e[red]"


@pytest.fixture
def crafted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive with a member whose name gives a terminal orders."""
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    honest = archive(tmp_path)
    return rewritten(honest, honest, {MEMBER: b""})


@pytest.mark.parametrize(
    "script",
    [
        lambda path: sign_archive.main([path]),
        lambda path: archives.main([path]),
        lambda path: evaluate_models.main(["--models", f"{path},{path}", "--data", "synthetic"]),
    ],
    ids=["sign_archive", "archives", "evaluate_models"],
)
def test_a_script_that_refuses_an_archive_spells_its_words_out(
    crafted: Path, script: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script(str(crafted)) == 1
    said = "".join(capsys.readouterr())
    assert "\\x1b[2J" in said and "\\u202e[red]" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)


def test_training_spells_out_what_it_was_refused_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise ArchiveError(f"{MEMBER}: expected é\nand no more")

    monkeypatch.setattr("training.signflow.recipe.from_arguments", refused)
    assert cli.main("signflow", []) == 1
    said = capsys.readouterr().out
    assert said == "\\x1b[2J\\x1b]0;owned\\x07\\u202e[red]: expected é\nand no more\n"

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from archives.archive import open_archive
from archives.certificate import Case, read_cases, write_cases
from archives.keys import own_key
from archives.signatures import sign, signature_path
from marina.settings import ROOT
from scripts import inspect_archive
from tests.archives.rewrite import members_of, recertified, renamed, rewritten
from tests.serving import archive

MARKUP = "[bold green]GRAPH PROVEN[/] \x1b[2J\x1b]0;owned\x07\u202e"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def inspect(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = inspect_archive.main([*options, str(path)])
    return code, capsys.readouterr().out


def test_a_signed_archive_is_described_and_its_graph_proven(
    signflow_archive: Path, tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / signflow_archive.name
    mine.write_bytes(signflow_archive.read_bytes())
    key = own_key(state / "signing.key", state / "keys")
    signature_path(mine).write_bytes(sign(open_archive(mine), key))
    code, page = inspect(mine, capsys)
    assert code == 0, page
    assert "GRAPH PROVEN" in page and "signflow 1.0" in page and "landmarks" in page and "data manifest" in page
    assert f"the code is as certified, and not proven; signed by {key.id[:16]}" in page


def test_nothing_of_an_unsigned_archive_is_run_unless_it_is_trusted(
    signflow_archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(inspect_archive, "open_verified", lambda *_: pytest.fail("something was run"))
        code, page = inspect(signflow_archive, capsys)
    assert code == inspect_archive.NOT_RUN
    assert "NOT RUN" in page and "signed by no trusted signer" in page and "PROVEN" not in page
    code, page = inspect(signflow_archive, capsys, "--trust")
    assert code == 0
    assert "GRAPH PROVEN" in page and "signed by no trusted signer" in page


def test_an_altered_archive_is_refused_and_the_member_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    honest = archive(tmp_path)
    code, page = inspect(rewritten(honest, tmp_path / "a-1.0.mar", {"contract.json": b"{}"}), capsys)
    assert code == 1
    assert "REFUSED" in page and "contract.json" in page


def test_a_signed_archive_that_was_changed_since_is_refused(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive(tmp_path)
    signature_path(path).write_bytes(sign(open_archive(path), own_key(state / "signing.key", state / "keys")))
    recertified(path, path, {"service.py": b"import os\n"})
    for options in ((), ("--trust",)):
        code, page = inspect(path, capsys, *options)
        assert code == 1 and "REFUSED" in page and "was changed after it was signed" in page


def test_an_archive_whose_graph_answers_otherwise_is_refused(
    signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = tmp_path / "certificate.npz"
    golden.write_bytes(members_of(signflow_archive)["certificate.npz"])
    first, *others = read_cases(golden)
    logits: npt.NDArray[Any] = first.outputs["logits"]
    moved = write_cases((Case(first.name, first.inputs, {"logits": logits + 0.01}), *others))
    forged = recertified(signflow_archive, tmp_path / "b-1.0.mar", {"certificate.npz": moved})
    code, page = inspect(forged, capsys, "--trust")
    assert code == 1, page
    assert "REFUSED" in page and "is off by 0.01" in page


def test_markup_and_escapes_of_an_archive_mean_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    honest = archive(tmp_path)
    changes = renamed(honest, "echo", "1.0")
    contract = json.loads(changes["contract.json"])
    contract["inputs"][0] |= {"name": MARKUP, "unit": MARKUP}
    changes["contract.json"] = json.dumps(contract | {"task": MARKUP}).encode()
    changes["provenance.json"] = json.dumps({"git_commit": MARKUP, "metrics": {MARKUP: MARKUP}}).encode()
    code, page = inspect(recertified(honest, honest, changes), capsys)
    assert code == inspect_archive.NOT_RUN
    assert "[bold green]GRAPH PROVEN[/]" in page.replace("\n", " "), "shown as it is written"
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, page = inspect(tmp_path / "none-1.0.mar", capsys)
    assert code == 1 and "does not exist" in page


def test_it_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "inspect_archive.py"), str(archive(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == inspect_archive.NOT_RUN, done.stderr
    assert "NOT RUN" in done.stdout


def test_its_card_is_printed_alone_and_nothing_is_run(
    signflow_archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_archive, "open_verified", lambda *_: pytest.fail("something was run"))
    code, page = inspect(signflow_archive, capsys, "--card")
    assert code == 0
    assert page == members_of(signflow_archive)["model-card.md"].decode()


def test_a_card_means_nothing_to_a_terminal(
    signflow_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = recertified(signflow_archive, tmp_path / signflow_archive.name, {"model-card.md": MARKUP.encode()})
    code, page = inspect(forged, capsys, "--card")
    assert code == 0 and "[bold green]GRAPH PROVEN[/]" in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_what_was_evaluated_and_what_ships_is_said(signflow_archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, page = inspect(signflow_archive, capsys)
    assert "evaluated on" in page and "fitted again" in page


def test_an_archive_without_a_card_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, page = inspect(archive(tmp_path), capsys, "--card")
    assert code == 1 and "has no model card" in page

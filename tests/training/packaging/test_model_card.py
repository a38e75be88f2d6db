import json
from dataclasses import replace
from pathlib import Path

import pytest

from archives.archive import open_archive
from archives.contract import ArchiveError
from tests.archives.rewrite import members_of, recertified, rewritten, write
from training.evaluation.slices import Slice, SliceReport
from training.packaging.model_card import write_card
from training.packaging.provenance import provenance
from training.signflow.recipe import Trained
from training.signflow.release import INTENDED_USE

COMPARED = SliceReport(
    0.9,
    (
        Slice("sign", "belly", 50, 0.4, 0.3, 0.5),
        Slice("sign", "cat", 50, 0.92, 0.8, 0.97),
        Slice("signer", "Ada", 50, 0.5, 0.4, 0.6),
    ),
)


def card_of(trained: Trained, archive: Path) -> str:
    """Return the card of what is trained otherwise and answers as the archive does."""
    opened = open_archive(archive)
    return write_card(opened.contract, provenance(trained), INTENDED_USE, opened.json("example.json")).decode()


def test_an_archive_has_the_card_of_its_release(trained: Trained, signflow_archive: Path) -> None:
    card = bytes(open_archive(signflow_archive).members["model-card.md"]).decode()
    assert card == card_of(trained, signflow_archive)
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "How to ask it"):
        assert f"\n## {heading}\n" in card
    assert "| accuracy | 0.03 |" in card and "# Model card: signflow 1.0" in card
    assert "POST /predictions/signflow" in card and len(card) < 8000, "the example is shortened"
    assert "| frames | 2048 |" in card and "| wrist_gap | at most 0.65 |" in card


def test_the_card_says_which_fit_the_figures_are_of(trained: Trained, signflow_archive: Path) -> None:
    assert "not of that very fit" in card_of(trained, signflow_archive)
    alone = replace(trained, fits=replace(trained.fits, refitted=False), quick=True)
    assert "What ships is the fit that was evaluated." in card_of(alone, signflow_archive)
    assert "trained with --quick" in card_of(alone, signflow_archive) and "--quick" not in card_of(
        trained, signflow_archive
    )


def test_groups_that_are_worse_off_are_named_and_people_are_not(trained: Trained, signflow_archive: Path) -> None:
    assert "Groups were not compared" in card_of(trained, signflow_archive)
    card = card_of(replace(trained, slices=COMPARED), signflow_archive)
    assert "Of 3 groups" in card and "| sign | belly | 50 | 0.400 | 0.300 to 0.500 |" in card
    assert "cat" not in card.split("Quantitative")[1].split("##")[0]
    assert "1 single people" in card and "Ada" not in card
    assert "None." in card_of(replace(trained, slices=SliceReport(0.9, COMPARED.slices[1:2])), signflow_archive)


def test_words_of_data_are_neither_markup_nor_orders(trained: Trained, signflow_archive: Path) -> None:
    card = card_of(replace(trained, params={"data": "a|b\n# <img>`x`\x1b[2J\u202e"}), signflow_archive)
    assert r"| data | a\|b # \<img\>\`x\`\\x1b\[2J\\u202e |" in card


def test_an_archive_without_a_card_still_opens(signflow_archive: Path, tmp_path: Path) -> None:
    members = members_of(signflow_archive)
    del members["model-card.md"]
    certificate = json.loads(members["certificate.json"])
    del certificate["sha256"]["model-card.md"]
    members["certificate.json"] = json.dumps(certificate).encode()
    old = open_archive(write(members, tmp_path / "signflow-1.0.mar"))
    assert "model-card.md" not in old.members


def test_an_altered_card_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    forged = rewritten(signflow_archive, tmp_path / "signflow-1.0.mar", {"model-card.md": b"# Perfect\n"})
    with pytest.raises(ArchiveError, match=r"model-card\.md: altered after certification"):
        open_archive(forged)


def test_a_card_that_is_no_text_is_refused(signflow_archive: Path, tmp_path: Path) -> None:
    forged = recertified(signflow_archive, tmp_path / "signflow-1.0.mar", {"model-card.md": b"\xff\xfe\xfa"})
    with pytest.raises(ArchiveError, match=r"model-card\.md: is not UTF-8"):
        open_archive(forged)

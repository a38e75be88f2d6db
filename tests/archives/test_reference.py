"""Reference rows as others read them out of an archive."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from archives.archive import Archive, open_archive
from archives.certificate import write_npz
from archives.contract import ArchiveError, Contract, Tensor, canonical_json, parse_contract
from archives.reference import Reference, read_reference

FORMAT_1 = Path(__file__).parent / "fixtures" / "code_bugs-1.0.mar"

CONTRACT = Contract(
    model="colours", version="1.0", family="colours", task="classification",
    inputs=(Tensor("x", "float32", ("batch", 1)),), outputs=(Tensor("y", "float32", ("batch", 2)),),
    labels=("red", "blue"), summary=("size", "brightness"),
)  # fmt: skip

ARRAYS = {
    "brightness": np.array([0.5, np.nan, 1], np.float32),
    "size": np.array([1, 2, 3], np.float32),
    "confidence": np.array([0.9, 0.8, 0.7], np.float32),
    "predicted": np.array([0, 1, 1]),
    "label": np.array([0, 1, 0]),
    "features": np.zeros((3, 2), np.float32),
}


def archive(contract: Contract, arrays: dict[str, np.ndarray]) -> Archive:
    """Return an archive of these two members alone."""
    members = {"contract.json": canonical_json(asdict(contract)), "reference.npz": write_npz(arrays)}
    return Archive(Path("colours-1.0.mar"), "", 0, {name: memoryview(content) for name, content in members.items()})


def test_a_reference_has_what_the_contract_names_in_its_order() -> None:
    found = read_reference(archive(CONTRACT, ARRAYS))
    assert tuple(found.summary) == CONTRACT.summary
    np.testing.assert_array_equal(found.summary["brightness"], ARRAYS["brightness"])
    assert found.confidence is not None and found.confidence.dtype == np.float32
    assert found.predicted is not None and found.predicted.tolist() == [0, 1, 1]
    assert (len(found), found.labels, found.label_counts) == (3, ("red", "blue"), {"red": 1, "blue": 2})


def test_an_archive_from_before_there_were_summaries_has_an_empty_reference() -> None:
    found = read_reference(open_archive(FORMAT_1))
    assert (dict(found.summary), len(found), found.labels, found.label_counts) == ({}, 0, ("clean", "bug"), {})
    assert (found.confidence, found.predicted) == (None, None)
    assert len(Reference()) == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": None}, "size: expected a float32 number per row"),
        ({"size": np.arange(3)}, "size: expected a float32 number per row"),
        ({"size": np.zeros((3, 1), np.float32)}, "size: expected a float32 number per row"),
        ({"size": np.zeros(2, np.float32)}, "as many rows of each of size, brightness, confidence, predicted"),
        ({"predicted": np.array([0, 1])}, "as many rows of each"),
        ({"predicted": np.array([0, 1, 2])}, "places among 2 labels"),
    ],
    ids=["absent", "integers", "two axes", "too short", "fewer answers", "unknown label"],
)
def test_rows_that_are_not_what_the_contract_says_are_refused(changed: dict[str, np.ndarray | None], said: str) -> None:
    arrays = {name: array for name, array in {**ARRAYS, **changed}.items() if array is not None}
    with pytest.raises(ArchiveError, match=said):
        read_reference(archive(CONTRACT, arrays))


@pytest.mark.parametrize(
    "names", [("confidence",), ("a", "a"), tuple(f"n{k}" for k in range(25))], ids=["an answer's", "twice", "too many"]
)
def test_a_contract_refuses_names_that_no_summary_can_have(names: tuple[str, ...]) -> None:
    with pytest.raises(ArchiveError, match="a summary has at most 24 names, none twice"):
        parse_contract({**asdict(CONTRACT), "summary": list(names)})

import hashlib
import json
from pathlib import Path

import numpy as np

from training.data.manifest import LISTING, listed, of_arrays, of_files
from training.signflow.clips import Clips


def test_a_manifest_is_the_same_wherever_the_files_lie(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder / "data").mkdir(parents=True)
        for name in ("b.npz", "a.npz"):
            (tmp_path / folder / "data" / name).write_bytes(name.encode())
    manifests = [of_files((tmp_path / f / "data").iterdir(), tmp_path / f / "data") for f in ("here", "there")]
    assert manifests[0].to_json() == manifests[1].to_json()


def test_one_changed_byte_changes_the_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"one")
    before = of_files([file], file).sha256
    file.write_bytes(b"two")
    assert of_files([file], file).sha256 != before


def test_a_listing_beside_the_data_holds_as_long_as_the_data_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "market"
    folder.mkdir()
    (folder / "prices.parquet").write_bytes(b"one")
    made = of_files(folder.iterdir(), folder)
    assert listed(folder) is None
    folder.with_name(f"market{LISTING}").write_text(made.to_json())
    assert listed(folder) == made
    (folder / "more.parquet").write_bytes(b"one")
    assert listed(folder) is None
    (folder / "more.parquet").unlink()
    (folder / "prices.parquet").write_bytes(b"two")
    assert listed(folder) is None
    folder.with_name(f"market{LISTING}").write_text("{")
    assert listed(folder) is None


def test_a_single_file_is_addressed_by_its_md5(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"content")
    text = of_files([file], file).dvc_file()
    assert text.splitlines() == [
        "outs:",
        f"- md5: {hashlib.md5(b'content', usedforsecurity=False).hexdigest()}",
        "  size: 7",
        "  hash: md5",
        "  path: a.npz",
    ]


def test_a_folder_is_addressed_by_the_md5_of_its_listing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("b", "a"):
        (tmp_path / "data" / name).write_bytes(name.encode())
    md5 = {name: hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in "ab"}
    listing = json.dumps([{"md5": md5["a"], "relpath": "a"}, {"md5": md5["b"], "relpath": "b"}])
    text = of_files((tmp_path / "data").iterdir(), tmp_path / "data").dvc_file()
    assert f"md5: {hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()}.dir" in text
    assert "nfiles: 2" in text


def test_clips_in_memory_have_a_manifest_too() -> None:
    def made(value: int) -> Clips:
        return Clips((np.full((2, 225), value, np.float32),), np.array([0]), ("a",), np.array(["s"]))

    assert of_arrays(made(1).arrays(), "x").sha256 == of_arrays(made(1).arrays(), "x").sha256
    assert of_arrays(made(1).arrays(), "x").sha256 != of_arrays(made(2).arrays(), "x").sha256

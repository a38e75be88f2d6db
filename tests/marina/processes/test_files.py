"""A file is replaced completely or not at all."""

from pathlib import Path
from typing import BinaryIO

import pytest

from marina.processes.files import write_atomically


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("content", ["é", "é".encode(), lambda file: file.write("é".encode())])
def test_a_file_is_replaced(tmp_path: Path, content: str, durable: bool) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    write_atomically(path, content, durable=durable)
    assert path.read_text() == "é"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")

    def fill(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, fill)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]

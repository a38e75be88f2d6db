"""Objects and commits that git itself would not write, for tests of what is read from them."""

import os
import subprocess
from pathlib import Path

from tests.training.code_health.tiny_repository import Tiny


def commit_raw(tiny: Tiny, author: bytes, committer: bytes, message: bytes = b"Work", parents: int = 1) -> str:
    """Commit what is written in the work tree, with header lines as given; `parents` 0 makes a root."""
    tiny.git("add", "-A")
    tree = tiny.git("write-tree").encode()
    above = b"parent " + tiny.git("rev-parse", "HEAD").encode() + b"\n" if parents else b""
    raw = b"tree " + tree + b"\n" + above + b"author " + author + b"\ncommitter " + committer + b"\n\n" + message
    name = put_object(tiny.folder, "commit", raw)
    tiny.git("update-ref", "HEAD", name)
    return name


def put_object(folder: Path, kind: str, raw: bytes) -> str:
    done = subprocess.run(
        ["git", "hash-object", "-t", kind, "-w", "--literally", "--stdin"],
        cwd=folder, input=raw, capture_output=True, check=True,
        env={name: one for name, one in os.environ.items() if not name.startswith("GIT_")},
    )  # fmt: skip
    return done.stdout.decode().strip()


def object_file(tiny: Tiny, name: str) -> Path:
    """Where a loose object is."""
    return tiny.folder / ".git" / "objects" / name[:2] / name[2:]

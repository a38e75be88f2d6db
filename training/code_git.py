"""Asks git, without a checkout and without running anything a repository's configuration names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

CHUNK_BYTES: Final = 1 << 20
QUIET: Final = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1"}
PLAIN_DIFF: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=myers", "-M", "-l1000")
"""One way to compare, whatever the configuration says; renames are followed."""


class GitError(RuntimeError):
    """Git refused, or there is no repository of use."""


def ask(repository: Path, *arguments: str) -> str:
    """Run a git command and return what it prints.

    Parameters
    ----------
    repository
        A work tree or a git directory.
    arguments
        Of git.

    Raises
    ------
    GitError
        If git is not there or refuses.
    """
    try:
        done = subprocess.run(_command(repository, arguments), capture_output=True, check=True, env=_environment())
    except FileNotFoundError as error:
        raise GitError("git is not installed: install it, for example with `apt-get install git`") from error
    except subprocess.CalledProcessError as error:
        raise GitError(f"git {arguments[0]} in {repository}: {text(error.stderr).strip()}") from error
    return text(done.stdout)


def stream(repository: Path, *arguments: str, end: bytes) -> Iterator[bytes]:
    """Run a git command and yield what it prints piece by piece.

    Parameters
    ----------
    repository
        A work tree or a git directory.
    arguments
        Of git.
    end
        The byte that ends a piece; it is not part of it.

    Raises
    ------
    GitError
        If git refuses; what it printed until then has been yielded.
    """
    with subprocess.Popen(
        _command(repository, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
    ) as process:
        try:
            rest = b""
            while chunk := _out(process).read(CHUNK_BYTES):
                *pieces, rest = (rest + chunk).split(end)
                yield from pieces
            if rest:
                yield rest
            complaint = process.stderr.read() if process.stderr else b""
        except GeneratorExit:
            process.kill()
            raise
    if process.returncode:
        hint = "; the clone is not whole: fetch what is missing" if b"unable to read" in complaint else ""
        raise GitError(f"git {arguments[0]} in {repository}: {text(complaint).strip()}{hint}")


def text(raw: bytes) -> str:
    """Decode what git prints; bytes that are not UTF-8 survive as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


class Blobs(AbstractContextManager["Blobs"]):
    """Contents by their hash, from one running `git cat-file --batch`.

    Parameters
    ----------
    repository
        A work tree or a git directory.
    """

    def __init__(self, repository: Path) -> None:
        self._process = subprocess.Popen(
            _command(repository, ("cat-file", "--batch")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )

    def read(self, blob: str) -> bytes:
        """Read one blob.

        Raises
        ------
        GitError
            If the repository does not have it.
        """
        if self._process.stdin is None:
            raise GitError("expected a running git cat-file, got one without an input")
        self._process.stdin.write(blob.encode() + b"\n")
        self._process.stdin.flush()
        out = _out(self._process)
        header = out.readline().split()
        if len(header) != 3:
            raise GitError(f"blob {blob} is missing: expected a full clone; fetch what is missing and try again")
        content = out.read(int(header[2]) + 1)
        return content[:-1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End git."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
        _out(self._process).close()


def _out(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise GitError("expected a running git, got one without an output")
    return process.stdout


def _command(repository: Path, arguments: tuple[str, ...]) -> list[str]:
    return ["git", "-C", str(repository), "-c", "core.quotePath=false", "-c", "log.showSignature=false", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, **QUIET}

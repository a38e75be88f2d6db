"""Asks git for a repository's objects, through an empty repository of our own.

the repository's objects ──┐
an empty git directory ────┴─> git ──> what is read

Git finds contents by their hash in the repository's object folder, and everything else (configuration, attributes,
hooks, grafts, replacements, remotes) in a git directory that has none of it. So whatever the repository, the user or
the environment sets, the same is read, nothing is fetched, and nothing that a configuration names is run.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from archives.errors import MarinaError

CHUNK_BYTES: Final = 1 << 20
MOST_BYTES: Final = 64 << 20
"""Larger files are data, whatever their name: git takes them for binary, and they are not read."""

PLAIN_DIFF: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=myers", "-M", "-l1000")
"""One way to compare; renames are followed."""

_QUIET: Final = {
    "LC_ALL": "C",
    # No configuration but a git directory's own: /dev/null/.gitconfig is not there, for any version of git.
    **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "GIT_GRAFT_FILE"), os.devnull),
    **dict.fromkeys(("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS", "GIT_NO_LAZY_FETCH"), "1"),
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "none",  # before git 2.45 this is what keeps a partial clone from fetching
    "GIT_TERMINAL_PROMPT": "0",
}
_SET: Final = ("--no-pager", "-c", f"core.bigFileThreshold={MOST_BYTES}", "-c", "core.commitGraph=false")


class GitError(MarinaError):
    """Git refused, or there is no repository of use."""


@dataclass(frozen=True)
class Objects:
    """A repository's objects.

    Attributes
    ----------
    folder
        The repository as it was named: a work tree or a git directory.
    directory
        Where the objects are.
    form
        Of their hashes: "sha1" or "sha256".
    """

    folder: Path
    directory: Path
    form: str


def ask(objects: Objects, *arguments: str) -> str:
    """Run a git command on a repository's objects and return what it prints.

    Parameters
    ----------
    objects
        Of the repository.
    arguments
        Of git; revisions by their hash, there are no names.

    Raises
    ------
    GitError
        If git is not there, or an object is missing or damaged.
    """
    with _complaints() as complaints, _running(objects, arguments, complaints) as process:
        printed = _out(process).read()
        status = process.wait()
        complaints.seek(0)
        if status:
            raise fault(objects, arguments[0], status, complaints.read())
    return text(printed)


def ask_directory(git_dir: str | None, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a git command that reads nothing but names in a git directory, or none.

    Parameters
    ----------
    git_dir
        Absolute; a work tree that it names is not looked for. None for a command that needs none.
    arguments
        Of git.

    Raises
    ------
    GitError
        If git cannot be run.
    """
    where = {"GIT_DIR": git_dir, "GIT_WORK_TREE": "/"} if git_dir is not None else {}
    try:
        return subprocess.run(
            ["git", *_SET, *arguments], capture_output=True, check=False, cwd="/", env=_variables(where)
        )
    except OSError as error:
        raise _no_git(error) from error


def stream(objects: Objects, *arguments: str, end: bytes) -> Iterator[bytes]:
    """Run a git command on a repository's objects and yield what it prints piece by piece.

    Parameters
    ----------
    objects
        Of the repository.
    arguments
        Of git; revisions by their hash, there are no names.
    end
        The byte that ends a piece; it is not part of it.

    Raises
    ------
    GitError
        If an object is missing or damaged; what git printed until then has been yielded.
    """
    with _complaints() as complaints, _running(objects, arguments, complaints) as process:
        try:
            rest = b""
            while chunk := _out(process).read(CHUNK_BYTES):
                *pieces, rest = (rest + chunk).split(end)
                yield from pieces
            if rest:
                yield rest
        except GeneratorExit:
            process.kill()
            raise
        status = process.wait()
        complaints.seek(0)
        if status:
            raise fault(objects, arguments[0], status, complaints.read())


def text(raw: bytes) -> str:
    """Decode what git prints; bytes that are not UTF-8 survive as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def escaped(name: str) -> str:
    r"""Return a name as it can be written anywhere: one line, valid text, and another name for each.

    Parameters
    ----------
    name
        Of a file or a person; its bytes that are no UTF-8 are surrogates, as `text` leaves them.

    Returns
    -------
    str
        The name itself, with ``\n``, ``\t``, ``\r`` for these, ``\xff`` for a byte that is no UTF-8, ``\u001b`` for
        another control character and ``\\`` for a backslash.
    """
    return "".join(map(_escaped, name))


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or 0x7F <= code < 0xA0 or code in {0x2028, 0x2029} or 0xD800 <= code <= 0xDFFF:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(sign, f"\\u{code:04x}")
    return "\\\\" if sign == "\\" else sign


def fault(objects: Objects, command: str, status: int, complaint: bytes) -> GitError:
    """Say why git gave up on a repository's objects, and what to do.

    Parameters
    ----------
    objects
        Of the repository.
    command
        Of git.
    status
        It ended with; negative for a signal.
    complaint
        What it wrote to standard error.
    """
    folder, named = escaped(str(objects.folder)), shlex.quote(str(objects.folder))
    said = "; ".join(escaped(line) for line in text(complaint).strip().splitlines()[-3:]) or "nothing"
    if status < 0:
        return GitError(
            f"git {command} was stopped by signal {-status} while it read {folder}: is the memory full? Try again"
        )
    if b"Permission denied" in complaint:
        return GitError(f"{folder} cannot be read by this user: run this as one who can, or clone it. git said: {said}")
    if next(objects.directory.glob("pack/*.promisor"), None) is not None:
        return GitError(
            f"{folder} is a partial clone (made with --filter): it lacks contents that its history names. Complete it "
            f"with `git -C {named} fetch --refetch --no-filter` (git 2.36 or newer), or clone it again without "
            f"--filter. git {command} said: {said}"
        )
    borrowed = objects.directory / "info" / "alternates"
    lender = f"; it borrows objects from where {escaped(str(borrowed))} says: are they there?" if _is(borrowed) else ""
    return GitError(
        f"{folder} is damaged: git cannot read an object of it{lender}. `git -C {named} fsck --full` lists what is "
        f"wrong; clone it again, or fetch from a whole copy. git {command} said: {said}"
    )


class Blobs(AbstractContextManager["Blobs"]):
    """Contents by their hash, from one running `git cat-file --batch`.

    Parameters
    ----------
    objects
        Of a repository.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._complaints = _complaints()
        self._process = _running(objects, ("cat-file", "--batch"), self._complaints, subprocess.PIPE)

    def read(self, blob: str) -> bytes | None:
        """Read one blob; None for one of more than `MOST_BYTES`.

        Raises
        ------
        GitError
            If the repository does not have it, or it is damaged.
        """
        if self._process.stdin is None:
            raise GitError("expected a running git cat-file, got one without an input")
        with suppress(BrokenPipeError):  # git has ended: its answer, none, says so
            self._process.stdin.write(blob.encode() + b"\n")
            self._process.stdin.flush()
        out = _out(self._process)
        header = out.readline()
        words = header.split()
        if len(words) != 3:
            if not header:
                self._process.wait()
            self._complaints.seek(0)
            raise fault(self._objects, "cat-file", 1, self._complaints.read() + b"\n" + header)
        size = int(words[2])
        if size <= MOST_BYTES:
            return out.read(size + 1)[:-1]
        left = size + 1
        while left and (skipped := out.read(min(left, CHUNK_BYTES))):
            left -= len(skipped)
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End git."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
        _out(self._process).close()
        self._complaints.close()


def _running(
    objects: Objects, arguments: tuple[str, ...], complaints: IO[bytes], stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    empty = _empty(objects.form)
    where = {"GIT_DIR": str(empty), "GIT_OBJECT_DIRECTORY": str(objects.directory)}
    try:
        return subprocess.Popen(
            ["git", *_SET, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=complaints,
            cwd=empty,  # where no .gitattributes is
            env=_variables(where),
        )
    except OSError as error:
        raise _no_git(error) from error


def _out(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise GitError("expected a running git, got one without an output")
    return process.stdout


def _no_git(error: OSError) -> GitError:
    return GitError(
        f"git cannot be run ({error.strerror}): install it, for example with `apt-get install git`, or set PATH to the "
        "folder that has it"
    )


def _variables(more: dict[str, str]) -> dict[str, str]:
    """Return the environment without what controls git, and with what keeps it quiet."""
    return {**{name: one for name, one in os.environ.items() if not name.startswith("GIT_")}, **_QUIET, **more}


@cache
def _empty(form: str) -> Path:
    """Make a git directory with nothing in it, once per process."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="marina-git-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "refs").mkdir()
        (folder / "objects").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/none\n")
        version, extensions = (0, "") if form == "sha1" else (1, f"[extensions]\n\tobjectFormat = {form}\n")
        (folder / "config").write_text(f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n{extensions}")
    except OSError as error:
        raise _no_space(error) from error
    return folder


def _complaints() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_space(error) from error


def _no_space(error: OSError) -> GitError:
    return GitError(f"cannot write to the folder for temporary files ({error}): set TMPDIR to one with space")


def _is(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return False

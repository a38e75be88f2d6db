"""Opens a repository that was named on a command line: exactly that one, or words that say what to name instead."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Final

from training.code_health.mining.git import GitError, Objects, ask, ask_directory, escaped, text

OLDEST_GIT: Final = (2, 30)


def open_repository(folder: Path, revision: str = "HEAD") -> tuple[Objects, str]:
    """Find a repository's objects and the commit that a revision means.

    Git is asked about this git directory and no other: not one around it, nor one that the environment names. It is
    asked for paths and hashes alone, so whose the folder is does not matter: nothing of it is run.

    Parameters
    ----------
    folder
        A work tree or a git directory.
    revision
        A branch, a tag, a hash: what git understands as a commit.

    Returns
    -------
    objects, tip
        Where the objects are, and the hash of the commit.

    Raises
    ------
    training.code_health.mining.git.GitError
        If there is no repository, no such revision, a clone whose history is cut off, or no git of use.
    """
    _check_version()
    git_dir = str(_git_dir(folder))
    shown = escaped(str(folder))
    done = ask_directory(git_dir, "rev-parse", "--is-shallow-repository", "--show-object-format", "--git-common-dir")
    if done.returncode:
        raise GitError(
            f"git cannot open {shown}: {_last(done.stderr)}. Expected a repository of this version of git; see that "
            f"{escaped(git_dir)} is whole, or clone it again"
        )
    shallow, form, common = text(done.stdout).removesuffix("\n").split("\n", 2)
    if shallow == "true":
        raise GitError(
            f"{shown} is a shallow clone, whose history is cut off: run "
            f"`git -C {shlex.quote(str(folder))} fetch --unshallow` first"
        )
    objects = Objects(Path(os.path.abspath(folder)), Path(os.path.join("/", common, "objects")), form)
    return objects, _resolve(objects, git_dir, revision)


def _git_dir(folder: Path) -> Path:
    """Find the git directory of a folder: in it, or the folder itself."""
    whole = Path(os.path.abspath(folder))
    shown = escaped(str(folder))
    try:
        names = set(os.listdir(whole))
    except FileNotFoundError:
        raise GitError(f"there is no folder {shown}: name a git repository on this machine") from None
    except NotADirectoryError:
        raise GitError(f"{shown} is a file: expected the folder of a git repository") from None
    except OSError as error:
        raise GitError(f"{shown} cannot be read ({error.strerror}): expected the folder of a git repository") from error
    if ".git" in names:
        return whole / ".git"
    if _is_git_dir(names):
        return whole
    for parent in whole.parents:
        try:
            around = set(os.listdir(parent))
        except OSError:
            continue
        if ".git" in around or _is_git_dir(around):
            inside = escaped(str(parent))
            raise GitError(
                f"{shown} is a folder inside the git repository {inside}: name that repository; its rows of kind file "
                "tell the files of each folder by their path"
            )
    raise GitError(
        f"{shown} is not a git repository: expected a folder with .git in it, or a bare repository. `git clone URL` "
        "makes one"
    )


def _is_git_dir(names: set[str]) -> bool:
    return "HEAD" in names and ("commondir" in names or {"objects", "refs"} <= names)


def _resolve(objects: Objects, git_dir: str, revision: str) -> str:
    """Return the hash of the commit that a revision means."""
    said = ""
    if not revision.startswith("-") and "\0" not in revision:
        found = ask_directory(git_dir, "rev-parse", "--verify", revision)
        name = text(found.stdout).strip()
        if found.returncode == 0:
            found = ask_directory(git_dir, "rev-parse", "--verify", f"{name}^{{commit}}")
            if found.returncode == 0:
                return text(found.stdout).strip()
            if not name.startswith(revision.lower()):
                ask(objects, "cat-file", "-t", name)  # says so where the object is missing or damaged
        said = f" (git says: {_last(found.stderr)})"
    shown = escaped(str(objects.folder))
    listed = ask_directory(git_dir, "for-each-ref", "--format=%(refname:short)", "--count=5")
    names = ", ".join(escaped(one) for one in text(listed.stdout).splitlines())
    what = f"it has no commit {escaped(revision)!r}"
    if revision == "HEAD":
        branch = _branch(git_dir)
        file = objects.directory.parent / branch
        if branch and file.is_file():
            logged = objects.directory.parent / "logs" / branch
            raise GitError(
                f"{shown} is damaged: {escaped(str(file))} holds no hash of a commit. {escaped(str(logged))} has those "
                "of before: write the last one there, or name another with --revision"
            )
        if not names:
            raise GitError(f"{shown} has no commits yet: expected a repository with a history; commit to it, or fetch")
        what = f"its HEAD names {escaped(branch) or 'no branch'}, which is not there"
    raise GitError(f"{shown}: {what}{said}. Name one with --revision, such as {names or 'the hash of a commit'}")


def _branch(git_dir: str) -> str:
    """Return the branch that HEAD names, from its file: git does not tell one that is damaged."""
    whole = text(ask_directory(git_dir, "rev-parse", "--absolute-git-dir").stdout).removesuffix("\n")
    head = text((Path(whole) / "HEAD").read_bytes())
    return head.removeprefix("ref: ").strip() if head.startswith("ref: ") else ""


def _check_version() -> None:
    done = ask_directory(None, "--version")
    found = re.search(r"(\d+)\.(\d+)", text(done.stdout))
    if found is None or done.returncode:
        said = escaped(text(done.stdout + done.stderr).strip())
        raise GitError(f"expected `git --version` to print a version, got {said!r}: install git again")
    if (int(found[1]), int(found[2])) < OLDEST_GIT:
        raise GitError(
            f"git {found[0]} is too old: expected {'.'.join(map(str, OLDEST_GIT))} or newer; install a newer one, and "
            "see that it comes first in PATH"
        )


def _last(complaint: bytes) -> str:
    lines = text(complaint).strip().splitlines() or ["nothing"]
    return escaped(lines[-1].removeprefix("fatal: ").rstrip("."))

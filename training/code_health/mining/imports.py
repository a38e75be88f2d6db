"""Which file of a project imports which, and which files are tested: from names alone, nothing is run.

A module that is named but stands outside the project links to nothing. Where several files could be meant, it is the
one nearest to the file that imports.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from models.code_health.arrays import Floats

Parts = tuple[str, ...]

_FOLDER_FILES: Final = frozenset({"__init__", "index", "mod"})  # a file that stands for its folder
_ROOTS: Final = frozenset({"src", "lib", "python", "crate"})
_TEST_FOLDER: Final = re.compile(r"(^|/)(tests?|testing|specs?|__tests__|e2e)/", re.I)
_TEST_NAME: Final = re.compile(r"^(?:tests?_|spec_)(.+)$|^(.+?)(?:[._-](?:tests?|spec)|Tests?|TestCase|Spec)$")


@dataclass(frozen=True)
class Links:
    """What the files of a project have to do with each other.

    Attributes
    ----------
    fan_in
        float64 [F], how many other files import each.
    tested
        float64 [F], 1 where a test imports it or is named after it, 0 where none does, NaN for a test.
    """

    fan_in: Floats
    tested: Floats


def is_test(path: str) -> bool:
    """Whether a file is a test, by its name or its folder."""
    return bool(_TEST_FOLDER.search(path) or _TEST_NAME.match(_stem(path)))


def links(paths: list[str], imports: list[tuple[str, ...]]) -> Links:
    """Find out which files import which.

    Parameters
    ----------
    paths
        The F source files of a project.
    imports
        What each imports, as `training.code_health.mining.file_metrics.imported` lists it.

    Returns
    -------
    Links
        Of the F files.
    """
    modules = _Modules(paths)
    importers: list[set[int]] = [set() for _ in paths]
    tested = np.zeros(len(paths))
    for file, (path, named) in enumerate(zip(paths, imports, strict=True)):
        test = is_test(path)
        reached = {target for one in named for target in modules.meant(one, path)} - {file}
        for target in reached:
            importers[target].add(file)
        if test:
            after = modules.called_like(path)
            tested[list(reached | after)] = 1.0
    tested[[is_test(path) for path in paths]] = np.nan
    return Links(np.array([len(one) for one in importers], dtype=np.float64), tested)


class _Modules:
    """Finds the files of a project by the names that imports use."""

    def __init__(self, paths: list[str]) -> None:
        self._folders = [posixpath.dirname(path) for path in paths]
        self._parts = [_module(path) for path in paths]
        self._by_last: defaultdict[str, list[int]] = defaultdict(list)
        self._exactly: dict[Parts, int] = {}
        self._go: defaultdict[str, list[int]] = defaultdict(list)
        for file, (path, parts) in enumerate(zip(paths, self._parts, strict=True)):
            if path.endswith(".go") and not is_test(path):
                self._go[posixpath.basename(self._folders[file])].append(file)
            if parts:
                self._by_last[parts[-1]].append(file)
                self._exactly.setdefault(parts, file)

    def meant(self, named: str, importer: str) -> set[int]:
        """Find the files that an import means: none, one, or one per name that it takes."""
        module, *names = named.split(" ")
        if importer.endswith(".go"):
            folders = self._go.get(posixpath.basename(module), [])
            return {file for file in folders if f"/{module}".endswith(f"/{self._folders[file]}")}
        below = [self._find(f"{module.rstrip('/')}/{name}", importer) for name in names]
        found = {file for file in below if file is not None}
        own = self._find(module, importer) if len(found) < len(names) or not names else None
        return found if own is None else found | {own}

    def called_like(self, test: str) -> set[int]:
        """Find the files that a test is named after, the nearest where there are several."""
        match = _TEST_NAME.match(_stem(test))
        if match is None:
            return set()
        file = self._nearest(
            [one for one in self._by_last.get(match[1] or match[2], []) if not _TEST_NAME.match(self._parts[one][-1])],
            test,
        )
        return set() if file is None else {file}

    def _find(self, name: str, importer: str) -> int | None:
        folder = posixpath.dirname(importer)
        if name.startswith("."):
            path = posixpath.normpath(posixpath.join(folder, name))
            return self._exactly.get(tuple(path.split("/")))
        parts = tuple(part for part in name.split("/") if part and part not in {"crate", "self", "super"})
        if not parts:
            return None
        beside = self._exactly.get((*folder.split("/"), *parts) if folder else parts)
        if beside is not None:
            return beside
        ending = [one for one in self._by_last.get(parts[-1], []) if self._parts[one][-len(parts) :] == parts]
        if len(parts) == 1 and not importer.endswith((".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".m", ".mm")):
            ending = [
                one for one in ending if set(self._parts[one][:-1]) <= _ROOTS
            ]  # or every `import json` would match
        return self._nearest(ending, importer)

    def _nearest(self, files: list[int], importer: str) -> int | None:
        return max(files, key=lambda file: _share(self._folders[file], posixpath.dirname(importer)), default=None)


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _module(path: str) -> Parts:
    """Name a file as an import does: its path without the ending, a folder's own file by its folder."""
    pure = PurePosixPath(path)
    return pure.parent.parts if pure.stem in _FOLDER_FILES else (*pure.parent.parts, pure.stem)


def _share(one: str, other: str) -> int:
    """Count the leading folders that two have in common."""
    return len(posixpath.commonpath([f"/{one}", f"/{other}"]).strip("/").split("/")) if one and other else 0

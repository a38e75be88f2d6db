"""Measures one version of one source file, and remembers it by its hash.

A blob never changes, so what was once measured is never measured again: the cache is one SQLite file, which any number
of repositories may share.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import statistics
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, TypeGuard

import lizard
import numpy as np
import numpy.typing as npt

from archives.errors import MarinaError

MEASURE_VERSION: Final = 2
"""Raise it whenever a measure changes: what an older version measured is then measured again."""

LARGEST_BYTES: Final = 1_000_000
"""Larger files are generated, and take minutes to parse: their functions stay unknown."""

BINARY_BYTES: Final = 8_000
"""A zero byte among the first of them makes a file binary, as for git: a video, whatever its ending says."""

COMPLEX: Final = 10
"""McCabe's limit of cyclomatic complexity."""

RUN: Final = 6
"""Lines that make a duplicate."""

BUSY_S: Final = 60.0
"""How long another process may be writing to the cache."""

_AT_ONCE: Final = 500  # names in one question to SQLite
_MARKERS: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_COMMENT: Final = ("#", "//", "/*", "*", "--", "%", "<!--")
_INCLUDE: Final = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.M)
_DOTTED: Final = re.compile(
    r"^[ \t]*(?:import|using)[ \t]+(?:static[ \t]+|public[ \t]+)?([\w.]+)[ \t]*(?:;|as\b|\.\*|$)", re.M
)
_QUOTED: Final = re.compile(r"""(?:\bfrom|\bimport|\brequire(?:_relative)?|\bimport\()[ \t(]*["']([^"'\n]+)["']""")
_GO: Final = re.compile(r'^[ \t]*(?:import[ \t]+)?(?:[\w.]+[ \t]+)?"([\w./~-]+)"[ \t]*$', re.M)
_PYTHON: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))", re.M
)
_RUST: Final = re.compile(r"^[ \t]*(?:pub[ \t]+)?(?:use[ \t]+([\w:]+)|mod[ \t]+(\w+)[ \t]*;)", re.M)
_NAMESPACE: Final = re.compile(r"^[ \t]*use[ \t]+([\w\\:]+)", re.M)
_IMPORTS: Final = {
    **dict.fromkeys(("c", "cc", "cpp", "cxx", "h", "hh", "hpp", "m", "mm"), _INCLUDE),
    **dict.fromkeys(("java", "kt", "kts", "scala", "cs", "swift"), _DOTTED),
    **dict.fromkeys(("js", "cjs", "mjs", "jsx", "ts", "tsx", "vue", "rb", "lua", "sol"), _QUOTED),
    **dict.fromkeys(("php", "pl", "pm"), _NAMESPACE),
    "go": _GO,
    "rs": _RUST,
    "py": _PYTHON,
}


MEASURES: Final = (
    *("lines", "filled", "comments", "functions", "function_lines", "paths", "paths_max", "complex_functions"),
    *("levels", "markers"),
)
"""What is counted in a file; the meanings are those of `models.code_health.arrays.Code`."""


@dataclass(frozen=True)
class Measured:
    """What one version of a file shows.

    Attributes
    ----------
    values
        One per name in `MEASURES`; NaN where lizard cannot read the file.
    imports
        What it imports: a path without its ending for each module, then, after a blank, the names taken from it.
    """

    values: tuple[float, ...]
    imports: tuple[str, ...]


UNKNOWN: Final = Measured((math.nan,) * len(MEASURES), ())
"""What a file shows that is gone, or no text."""


def is_text(content: bytes | None) -> TypeGuard[bytes]:
    """Whether a file can be source: it was read (too large ones are not), and is not binary."""
    return content is not None and b"\0" not in content[:BINARY_BYTES]


def measure(path: str, content: bytes | None) -> Measured:
    """Measure one version of a file.

    Parameters
    ----------
    path
        Its name, whose ending tells the language.
    content
        Its bytes; None for a file too large to be read.

    Returns
    -------
    Measured
        What lizard tells is NaN where it cannot read the file, and everything of a file that is no text.
    """
    if not is_text(content):
        return UNKNOWN
    source = content.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = source.removesuffix("\n").split("\n") if source else []
    filled = [line for line in lines if line.strip()]
    measured = None
    if len(content) <= LARGEST_BYTES:
        with suppress(Exception):  # lizard's readers raise anything on broken source: it stays unknown
            measured = lizard.analyze_file.analyze_source_code(f"name.{language(path)}", source)
    by_lizard = [math.nan] * 6
    if measured is not None:
        paths = [one.cyclomatic_complexity for one in measured.function_list]
        own_lines, hard = sum(one.nloc for one in measured.function_list), sum(one > COMPLEX for one in paths)
        comments = max(len(filled) - measured.nloc, 0)
        by_lizard = [comments, len(paths), own_lines, sum(paths), max(paths, default=0), hard]
    values = (len(lines), len(filled), *by_lizard, _levels(filled), len(_MARKERS.findall(source)))
    return Measured(tuple(map(float, values)), imported(path, source))


def imported(path: str, source: str) -> tuple[str, ...]:
    """List what a file imports, as its text says it.

    Parameters
    ----------
    path
        Its name, whose ending tells the language.
    source
        Its text.

    Returns
    -------
    tuple of str
        Sorted, each once: "a/b" for a module, "./b" or "../b" for one that is named from where the file is, "a/b c d"
        where names are taken from it. Empty for a language whose imports are not known here.
    """
    pattern = _IMPORTS.get(language(path))
    if pattern is None:
        return ()
    found: set[str] = set()
    for match in pattern.finditer(source):
        if pattern is _PYTHON:
            module, names, modules = match.groups()
            if modules is not None:
                found.update(one.split()[0].replace(".", "/") for one in modules.split(",") if one.split())
            else:
                taken = re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"[()]|#[^\n]*", "", names))
                dots = len(module) - len(module.lstrip("."))
                up = "./" if dots == 1 else "../" * (dots - 1)
                found.add(" ".join([up + module[dots:].replace(".", "/"), *sorted(set(taken))]))
        else:
            name = next(group for group in match.groups() if group)
            if pattern is _INCLUDE or pattern is _QUOTED:
                name = re.sub(r"\.(h|hh|hpp|js|cjs|mjs|jsx|ts|tsx|vue|rb)$", "", name)
            elif pattern is not _GO:
                name = re.sub(r"::|\\|\.", "/", name)
            found.add(name.rstrip("/"))
    return tuple(sorted(found))


def runs(content: bytes | None) -> tuple[int, npt.NDArray[np.uint64]]:
    """Hash every run of six code lines of a file.

    Lines are compared without the blanks around them; lines without a letter or digit and lines that are comment do not
    count, so that braces and licences are no duplicates.

    Parameters
    ----------
    content
        Its bytes; None for a file too large to be read.

    Returns
    -------
    lines, hashes
        How many code lines there are, and uint64 [lines - 5] (none for shorter files, and for what is no text).
    """
    if not is_text(content):
        return 0, np.zeros(0, dtype=np.uint64)
    stripped = (line.strip() for line in content.decode("utf-8", "replace").split("\n"))
    kept = [line for line in stripped if not line.startswith(_COMMENT) and any(map(str.isalnum, line))]
    hashes = np.array([zlib.crc32(line.encode()) for line in kept], dtype=np.uint64)
    count = max(len(kept) - RUN + 1, 0)
    whole = np.zeros(count, dtype=np.uint64)
    for step in range(RUN):
        whole = whole * np.uint64(0x100000001B3) + hashes[step : step + count]  # modulo 2^64, as FNV multiplies
    return len(kept), whole


def _levels(filled: list[str]) -> float:
    """Sum of the indentation levels of lines, in the step that the file itself indents by."""
    depths = [len(line) - len(line.lstrip()) for line in (line.expandtabs(4) for line in filled)]
    steps = [b - a for a, b in pairwise(depths) if b - a > 1]
    return sum(depths) / (statistics.mode(steps) if steps else 4)


class CacheError(MarinaError):
    """The file of measures cannot be read or written."""


class Cache(AbstractContextManager["Cache"]):
    """Measures by blob and language, in one SQLite file.

    Parameters
    ----------
    file
        Made where it does not exist; None keeps it in memory.

    Raises
    ------
    CacheError
        If the file cannot be made, or is no such file; also by what reads and writes it later.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._table = f"measures_{MEASURE_VERSION}"
        numbers = ", ".join(f"{name} REAL" for name in MEASURES)
        with self._explained():
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file or ":memory:", timeout=BUSY_S)
            with self._database:
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._table} (blob TEXT, language TEXT, {numbers}, imports TEXT, "
                    "PRIMARY KEY (blob, language)) WITHOUT ROWID"
                )

    def known(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Measured]:
        """Return what is remembered of some blobs in their languages."""
        found: dict[tuple[str, str], Measured] = {}
        wanted = sorted({blob for blob, _ in keys})
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            places = ", ".join("?" * len(some))
            with self._explained():
                question = f"SELECT * FROM {self._table} WHERE blob IN ({places})"
                rows = self._database.execute(question, some).fetchall()
            for row in rows:
                values = tuple(math.nan if one is None else float(one) for one in row[2:-1])
                found[row[0], row[1]] = Measured(values, tuple(json.loads(row[-1])))
        return {key: found[key] for key in keys if key in found}

    def remember(self, measured: dict[tuple[str, str], Measured]) -> None:
        """Keep measures, all of them or none."""
        rows = [(*key, *one.values, json.dumps(one.imports)) for key, one in measured.items()]
        places = ", ".join("?" * (len(MEASURES) + 3))
        with self._explained(), self._database:
            self._database.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES ({places})", rows)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise CacheError(
                f"cannot keep measures of code in {self._file}: {error}. Expected an SQLite file that can be written; "
                "name another with --cache, or make space, or remove the file: it is made again"
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._database.close()


def language(path: str) -> str:
    """Tell what a file is read as: its ending, in lower case."""
    return PurePosixPath(path).suffix[1:].lower()

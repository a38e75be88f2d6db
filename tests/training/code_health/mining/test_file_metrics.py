import math
from pathlib import Path
from typing import Never

import pytest

from training.code_health.mining import file_metrics
from training.code_health.mining.file_metrics import MEASURES, RUN, Cache, Measured, imported, measure, runs

SOURCE = b'''"""A module.

Two lines.
"""
import os


def busy(a, b):
    # TODO later
    if a and b:
        return os.getpid()
    for x in range(a):
        pass
    return None


def calm():
    return 1
'''


def values(path: str, content: bytes) -> dict[str, float]:
    return dict(zip(MEASURES, measure(path, content).values, strict=True))


def test_a_file_is_measured_as_a_person_would_count() -> None:
    assert values("a.py", SOURCE) == {
        **{"lines": 18, "filled": 13, "comments": 4, "functions": 2, "function_lines": 8, "paths": 5},
        **{"paths_max": 4, "complex_functions": 0, "levels": 9, "markers": 1},
    }


def test_line_ends_and_a_missing_last_one_change_nothing() -> None:
    assert measure("a.py", SOURCE.replace(b"\n", b"\r\n")) == measure("a.py", SOURCE)
    assert values("a.py", SOURCE.removesuffix(b"\n"))["lines"] == 18


def test_indentation_counts_in_the_file_s_own_step() -> None:
    two, four = b"def f():\n  if x:\n    y()\n", b"def f():\n    if x:\n        y()\n"
    tabs = b"def f():\n\tif x:\n\t\ty()\n"
    assert values("a.py", two)["levels"] == values("a.py", four)["levels"] == values("a.py", tabs)["levels"] == 3


def test_an_empty_file_has_nothing() -> None:
    assert set(measure("a.py", b"").values) == {0.0}


@pytest.mark.parametrize("content", [b"\x01\xff\xfe", b"def (((", b"class:\n\tdef\n  '''"])
def test_broken_source_is_measured_as_far_as_it_goes(content: bytes) -> None:
    assert values("a.py", content)["lines"] >= 1


@pytest.mark.parametrize("content", [None, b"\x00\xff\xfe", b"x = 1\n" * 1000 + b"\0"])
def test_what_is_no_text_shows_nothing(content: bytes | None) -> None:
    assert all(map(math.isnan, measure("a.py", content).values))
    assert runs(content)[0] == 0


def test_what_lizard_cannot_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, source: str) -> Never:
        raise IndexError

    monkeypatch.setattr("training.code_health.mining.file_metrics.lizard.analyze_file.analyze_source_code", fail)
    told = values("a.py", SOURCE)
    assert math.isnan(told["functions"]) and math.isnan(told["comments"])
    assert told["lines"] == 18


def test_huge_files_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_metrics, "LARGEST_BYTES", 10)
    assert math.isnan(values("a.py", SOURCE)["paths"])


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("a.py", "import os.path, sys as s\nfrom . import b\nfrom ..c.d import (\n  e, # why\n  f as g,\n)\n", None),
        ("a.js", "import x from './lib/x.js';\nconst y = require(\"../y\");\nimport 'z';\n", ("../y", "./lib/x", "z")),
        ("A.java", "import java.util.List;\nimport static a.b.C;\n", ("a/b/C", "java/util/List")),
        ("a.c", '#include <stdio.h>\n# include "x/y.h"\n', ("stdio", "x/y")),
        ("a.go", 'import (\n\t"fmt"\n\tq "github.com/o/r/pkg"\n)\n', ("fmt", "github.com/o/r/pkg")),
        ("a.rs", "use crate::a::b;\npub use std::fmt;\nmod c;\n", ("c", "crate/a/b", "std/fmt")),
        ("A.cs", "using System.Text;\n", ("System/Text",)),
        ("a.php", "use App\\Models\\User;\n", ("App/Models/User",)),
        ("a.erl", "-include(x).\n", ()),
    ],
)
def test_imports_are_listed(path: str, source: str, found: tuple[str, ...] | None) -> None:
    expected = ("../c/d e f", "./ b", "os/path", "sys") if found is None else found
    assert imported(path, source) == expected


def test_runs_are_of_six_code_lines_wherever_they_are_indented() -> None:
    block = b"".join(b"call(%d)\n" % number for number in range(RUN))
    lines, hashes = runs(block)
    assert (lines, len(hashes)) == (RUN, 1)
    assert runs(b"# note\n\n  }\n" + block.replace(b"call", b"   call"))[1].tolist() == hashes.tolist()
    assert len(runs(block[:-8])[1]) == 0


def test_the_cache_gives_back_what_was_measured_in_that_language(tmp_path: Path) -> None:
    kept = Measured((*map(float, range(len(MEASURES) - 1)), math.nan), ("a/b c",))
    with Cache(tmp_path / "new" / "cache.sqlite") as cache:
        cache.remember({("1" * 40, "py"): kept})
    with Cache(tmp_path / "new" / "cache.sqlite") as cache:
        known = cache.known([("1" * 40, "py"), ("1" * 40, "js"), ("2" * 40, "py")])
    [(key, measured)] = known.items()
    assert key == ("1" * 40, "py")
    assert str(measured) == str(kept)  # NaN is not equal to itself


def test_a_new_way_to_measure_forgets_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache.sqlite"
    with Cache(file) as cache:
        cache.remember({("1" * 40, "py"): Measured((0.0,) * len(MEASURES), ())})
    monkeypatch.setattr(file_metrics, "MEASURE_VERSION", file_metrics.MEASURE_VERSION + 1)
    with Cache(file) as cache:
        assert not cache.known([("1" * 40, "py")])

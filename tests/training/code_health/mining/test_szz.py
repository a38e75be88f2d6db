import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.training.code_health.tiny_repository import Tiny, module
from training.code_health.mining.history import Repository, read_history
from training.code_health.mining.imports import is_test
from training.code_health.mining.szz import MOST_FILES, repairs


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path / "project")


def pairs(tiny: Tiny) -> dict[tuple[str, str], int]:
    """(fixing, inducing): lines."""
    repository = read_history(tiny.folder)
    found = repairs(repository)
    counted: Counter[tuple[str, str]] = Counter()
    for fixing, inducing, lines in zip(found.fixing, found.inducing, found.lines, strict=True):
        counted[repository.hashes[fixing], repository.hashes[inducing]] += int(lines)
    return dict(counted)


def test_a_repair_leads_to_whoever_wrote_the_lines(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": module("a = 1", "b = 2", "c = 3", "d = 4")})
    second = tiny.commit(1, {"a.py": module("a = 1", "b = 20", "c = 30", "d = 4")})
    fix = tiny.commit(2, {"a.py": module("a = 1", "b = 21", "c = 31", "d = 41")}, "Fix sums")
    assert pairs(tiny) == {(fix, second): 2, (fix, first): 1}


def test_blank_lines_comments_and_indentation_are_nobody_s_defect(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": module("# why", "", "if a:", "  b = 1", "c = 1")})
    second = tiny.commit(1, {"a.py": module("# why", "", "if a:", "    b = 1", "c = 2")})
    fix = tiny.commit(2, {"a.py": module("if a:", "        b = 1", "c = 3")}, "Fix c")
    assert pairs(tiny) == {(fix, second): 1}


def test_lines_are_followed_through_a_rename(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": module("x = 1", before=20)})
    tiny.commit(1, {"a.py": None, "b.py": module("x = 1", before=20)})
    fix = tiny.commit(2, {"b.py": module("x = 2", before=20)}, "Fix x")
    assert pairs(tiny) == {(fix, first): 1}


def test_a_line_of_a_side_branch_leads_to_its_commit_not_to_the_merge(tiny: Tiny) -> None:
    base = module(before=5)
    tiny.commit(0, {"a.py": base})
    tiny.branch("side")
    side = tiny.commit(1, {"a.py": base + "side = 1\n"})
    tiny.git("checkout", "-q", "main")
    main = tiny.commit(2, {"a.py": "main = 1\n" + base})
    merge = tiny.merge(3, "side", {"a.py": f"main = 1\n{base}both = 1\nside = 1\n"})
    fix = tiny.commit(4, {"a.py": f"main = 2\n{base}both = 2\nside = 2\n"}, "Fix all")
    assert pairs(tiny) == {(fix, side): 1, (fix, main): 1, (fix, merge): 1}


def test_what_was_repaired_before_it_arrived_was_no_defect(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "x = 1\n"})
    tiny.branch("side")
    tiny.commit(1, {"b.py": "y = 1\n"})
    tiny.commit(2, {"b.py": "y = 2\n"}, "Fix y")
    tiny.merge(3, "side")
    assert pairs(tiny) == {}


def test_tests_sweeps_and_whole_files_that_go_tell_nothing(tiny: Tiny) -> None:
    names = [f"m{number}.py" for number in range(MOST_FILES + 1)]
    tiny.commit(0, {name: f"name = '{name}'\n" for name in (*names, "tests/test_a.py", "gone.py")})
    tiny.commit(1, dict.fromkeys(names, "x = 1\n"), "Fix everything")
    tiny.commit(2, {"tests/test_a.py": "y = 1\n"}, "Fix a race")
    tiny.commit(3, {"gone.py": None}, "Fix by removal")
    assert pairs(tiny) == {}


def test_a_line_that_looks_like_a_header_is_a_line(tiny: Tiny) -> None:
    text = "index 1..2\n@@ -1 +1 @@\ndiff --git a/a b/a\n"
    first = tiny.commit(0, {"a.py": text + "- x\n+ y\nz = 1"})
    fix = tiny.commit(1, {"a.py": text + "- xx\n+ yy\nz = 2\n"}, "Fix signs")
    assert pairs(tiny) == {(fix, first): 3}


def test_the_origins_are_those_of_git_blame(tiny: Tiny) -> None:
    """A random history with branches, against git itself."""
    chance = random.Random(7)
    names = ["a.py", "b.py", "c.py"]
    files = {name: [f"{name} {number}" for number in range(30)] for name in names}
    day = 0

    def edited(lines: list[str]) -> list[str]:
        lines = list(lines)
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(lines))
            lines[start : start + chance.randint(0, 3)] = [f"n{chance.random()}" for _ in range(chance.randint(0, 3))]
        return lines or ["end"]

    def step(message: str) -> None:
        nonlocal day
        day += 1
        for name in chance.sample(names, 2):
            files[name] = edited(files[name])
        tiny.commit(day, {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()}, message)

    step("Start")
    for number in range(5):
        for _ in range(3):
            step(chance.choice(["Fix it", "Work"]))
        tiny.branch(f"side{number}")
        kept = dict(files)
        step("Side")
        tiny.git("checkout", "-q", "main")
        theirs, files = dict(files), kept
        step("Fix it")
        mixed = {name: files[name][:12] + theirs[name][12:] for name in names}
        files = {name: edited(lines) for name, lines in mixed.items()}
        day += 1
        tiny.merge(day, f"side{number}", {name: "".join(f"{one}\n" for one in lines) for name, lines in files.items()})
        step("Fix it")
    repository = read_history(tiny.folder)
    assert len(pairs(tiny)) > 20
    assert pairs(tiny) == by_git_blame(tiny, repository)


def by_git_blame(tiny: Tiny, repository: Repository) -> dict[tuple[str, str], int]:
    """The same by asking git for every line that a repair takes away."""
    found: Counter[tuple[str, str]] = Counter()
    arrival = dict(zip(repository.hashes, repository.history.time_s.tolist(), strict=True))
    for place, change in zip(repository.history.commit.tolist(), repository.changes, strict=True):
        fix = repository.hashes[place]
        if not repository.history.fixes[place] or is_test(change.path):
            continue
        blamed = tiny.git("blame", "-w", "-s", "-l", "--root", f"{fix}^", "--", change.path).splitlines()
        shown = subprocess.run(
            ["git", "diff", "-U0", "-w", f"{fix}^", fix, "--", change.path],
            cwd=tiny.folder, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for header in (line for line in shown.splitlines() if line.startswith("@@")):
            start, _, count = header.split()[1][1:].partition(",")
            for line in range(int(start), int(start) + int(count or 1)):
                found[fix, blamed[line - 1].split()[0]] += 1
    return {key: lines for key, lines in found.items() if arrival[key[0]] > arrival[key[1]]}

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.code_health.tiny_repository import Tiny, module, seconds
from training.code_health.mining.extract import Extractor
from training.code_health.mining.file_metrics import Cache
from training.code_health.mining.history import read_history
from training.code_health.mining.szz import repairs
from training.code_health.mining.targets import TARGETS, Target, known_s, labels

NEVER = pytest.approx(math.nan, nan_ok=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path / "project")


def labelled(tiny: Tiny, moments: Iterable[float] | None = None) -> dict[str, dict[str, Any]]:
    """Labels by subject: of commits, or of the files at some days."""
    repository = read_history(tiny.folder)
    extractor = Extractor(repository, Cache(None))
    rows = extractor.commits() if moments is None else extractor.files(map(seconds, moments))
    table = labels(repository, rows, repairs(repository))
    return {name: dict(row) for name, (_, row) in zip(rows.subject, table.iterrows(), strict=True)}


def test_a_commit_is_buggy_when_its_lines_are_repaired_within_30_days(tiny: Tiny) -> None:
    early = tiny.commit(0, {"a.py": module("a = 1", "b = 1", "c = 1")})
    soon = tiny.commit(70, {"a.py": module("a = 2", "b = 1", "c = 1")})
    fix = tiny.commit(90, {"a.py": module("a = 3", "b = 3", "c = 1")}, "Fix sums")
    tiny.commit(300, {"z.py": "z = 1\n"})
    told = labelled(tiny)
    assert (told[early]["bug"], told[early]["risk"], told[early]["repaired_days"]) == (0, 1, 90)
    assert (told[soon]["bug"], told[soon]["risk"], told[soon]["repaired_days"]) == (1, 1, 20)
    assert (told[fix]["bug"], told[fix]["risk"], told[fix]["repaired_days"]) == (0, 0, NEVER)


def test_a_label_is_unknown_until_its_horizon_has_passed(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": "a = 1\n"})
    tiny.commit(29, {"b.py": "b = 1\n"})
    assert labelled(tiny)[first]["bug"] == NEVER
    tiny.commit(30, {"b.py": "b = 2\n"})
    assert (labelled(tiny)[first]["bug"], labelled(tiny)[first]["risk"]) == (0, NEVER)


def test_a_known_label_never_changes(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": module("a = 1", "b = 1")})
    tiny.commit(181, {"b.py": "b = 1\n"})
    before = labelled(tiny)[first]
    tiny.commit(182, {"a.py": module("a = 2", "b = 2", "c = 1")}, "Fix a")
    after = labelled(tiny)[first]
    assert {one.name: after[one.name] for one in TARGETS} == {one.name: before[one.name] for one in TARGETS}
    assert after["repaired_days"] == 182


def test_a_file_is_at_risk_when_it_is_repaired_after_the_date(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "a = 1\n", "b.py": "b = 1\n", "tests/test_a.py": "t = 1\n"})
    tiny.commit(40, {"a.py": "a = 2\n", "tests/test_a.py": "t = 2\n"}, "Fix a")
    tiny.commit(400, {"b.py": "b = 2\n"})
    told = labelled(tiny, [5])
    assert [told[name]["risk"] for name in ("a.py", "b.py", "tests/test_a.py")] == [1, 0, 0]
    assert told["a.py"]["bug"] == 0
    assert labelled(tiny, [20])["a.py"]["bug"] == 1
    assert labelled(tiny, [40])["a.py"]["risk"] == 0, "the repair itself is not after it"


def test_impact_is_the_work_that_follows(tiny: Tiny) -> None:
    first = tiny.commit(0, {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    tiny.commit(10, {"a.py": module("a = 1", before=99)})
    tiny.commit(31, {"a.py": "a = 1\n"})
    tiny.commit(90, {"c.py": "c = 1\n"})
    assert labelled(tiny)[first]["impact"] == pytest.approx(math.log(100) / math.log(10_001), rel=1e-6)
    told = labelled(tiny, [0.5])
    assert told["b.py"]["impact"] == 0
    [project] = [row for name, row in told.items() if not name.endswith(".py")]
    assert project["impact"] == pytest.approx(math.log(100) / math.log(10_001), rel=1e-6)
    assert (project["risk"], project["bug"]) == (NEVER, NEVER)


def test_the_rest_of_a_merged_branch_is_no_later_work(tiny: Tiny) -> None:
    tiny.commit(0, {"a.py": "a = 1\n"})
    tiny.branch("side")
    side = tiny.commit(1, {"b.py": "b = 1\n"})
    tiny.commit(2, {"b.py": "b = 2\n"}, "Fix b")
    tiny.merge(3, "side")
    tiny.commit(200, {"a.py": "a = 2\n"})
    told = labelled(tiny)[side]
    assert (told["impact"], told["bug"], told["risk"]) == (0, 0, 0)


def test_when_a_label_is_known_follows_from_its_horizon() -> None:
    moments = np.array([seconds(0)])
    assert {one.name: (int(known_s(moments, one)[0]) - seconds(0)) // 86_400 for one in TARGETS} == {
        **{"risk": 180, "bug": 30, "impact": 30}
    }


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_page_defines_every_label(target: Target) -> None:
    page = Path(__file__).parents[4] / "docs" / "families" / "code_health_features.md"
    assert f"| `{target.name}` | {target.horizon_days} | {target.definition} |" in page.read_text().splitlines()

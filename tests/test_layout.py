"""The layout that docs/CONTRIBUTING.md describes is kept."""

from tests.serving import ROOT
from tests.test_references import PACKAGES

SHARED = {"__init__", "calibration", "cli", "family", "progress", "search", "tracking"}
MOST_LINES = 400


def test_no_module_is_too_long_to_read() -> None:
    modules = [path for package in PACKAGES if package != "tests" for path in (ROOT / package).rglob("*.py")]
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in modules}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_what_belongs_to_a_family_is_in_its_folder() -> None:
    assert {path.stem for path in (ROOT / "training").glob("*.py")} == SHARED
    for recipe in (ROOT / "training").glob("*/recipe.py"):
        family = recipe.parent.name
        assert (recipe.parent / "release.py").exists()
        assert (ROOT / "models" / family).is_dir() and (ROOT / "tests" / "training" / family).is_dir()

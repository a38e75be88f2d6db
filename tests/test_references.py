"""What the code says about itself is there: modules and names in comments and docstrings, and paths of files."""

import re
from pathlib import Path

from tests.serving import ROOT

PACKAGES = ("archives", "benchmarks", "demo", "handlers", "marina", "models", "scripts", "tests", "training")
PATTERNS = (*(f"{package}/**/*.py" for package in PACKAGES), "deploy/**/*", "*.properties", "*.yml", "Dockerfile.*")
DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?=[`\s,:;)'\"(]|\.\s|\.$)", re.M)
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)}|docs)/[\w./-]+\.(?:py|md|yaml|yml|j2|sh)\b")
NO_MODULES = {"marina.pth", "marina.db", "marina.version", "marina.decision", "marina.decision.reason"}
PLACEHOLDER = re.compile(r"\b(FAMILY|NAME|MODEL)\b")


def is_there(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.is_dir() or path.with_suffix(".py").is_file():
            if length == len(parts):
                return True
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            return source.is_file() and re.search(rf"\b{parts[length]}\b", source.read_text()) is not None
    return False


def prose(path: Path) -> str:
    """Comments and docstrings of a file; of what is not Python, all of it."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    return "\n".join([*re.findall(r'"""(?s:.*?)"""', text), *re.findall(r"#.*", text)])


def test_what_files_refer_to_is_there() -> None:
    missing = []
    for path in sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()}):
        said = prose(path)
        names = [name for name in DOTTED.findall(said) if name not in NO_MODULES and not is_there(name)]
        names += [name for name in PATH.findall(said) if not (ROOT / name).exists()]
        missing += [f"{path.relative_to(ROOT)}: {name}" for name in names if not PLACEHOLDER.search(name)]
    assert missing == []

"""The software bill of materials of a serving host, in CycloneDX form."""

import functools
import importlib.metadata
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement

from marina.settings import ROOT


@functools.cache
def software_bill() -> bytes:
    """Return the CycloneDX JSON of what a serving host installs: the `serve` group and all it brings.

    Raises
    ------
    subprocess.CalledProcessError
        If cyclonedx-py fails.
    """
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pins = "\n".join(sorted(f"{name}=={version}" for name, version in _closure(groups["serve"]).items()))
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "-", "--output-reproducible", "--of", "JSON"]
    done = subprocess.run(command, input=pins.encode(), capture_output=True, check=True)
    return done.stdout


def _closure(requirements: list[str]) -> dict[str, str]:
    """Return name and version of every installed distribution that the requirements bring."""
    found: dict[str, str] = {}
    todo = [Requirement(text) for text in requirements]
    while todo:
        wanted = todo.pop()
        if wanted.name.lower() in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            distribution = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an optional dependency of another platform
        found[wanted.name.lower()] = distribution.version.partition("+")[0]
        todo += [Requirement(text) for text in distribution.requires or []]
    return found

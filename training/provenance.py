"""Which code made a model."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent


class Run(Protocol):
    """What every trained model knows of how it came to be."""

    @property
    def data_manifest_sha256(self) -> str:
        """Which data."""

    @property
    def mlflow_run_id(self) -> str:
        """Which run."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Of the run."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """On held-out data."""


def provenance(trained: Run) -> dict[str, Any]:
    """Return what an archive says of a model's origin."""
    return {
        "git_commit": git_commit(),
        "data_manifest_sha256": trained.data_manifest_sha256,
        "mlflow_run": trained.mlflow_run_id,
        "parameters": dict(trained.params),
        "metrics": dict(trained.metrics),
    }


def git_commit() -> str:
    """Return the commit this tree stands at, marked where the tree differs from it; ``unknown`` outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}-modified" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()

"""Which code made a model."""

import subprocess
from dataclasses import asdict
from typing import Any

from marina.settings import ROOT
from training.family import Trained


def provenance(trained: Trained) -> dict[str, Any]:
    """Return what an archive says of a model's origin."""
    return {
        "git_commit": git_commit(),
        "data_manifest_sha256": trained.data_manifest_sha256,
        "mlflow_run": trained.mlflow_run_id,
        "parameters": dict(trained.params),
        "metrics": dict(trained.metrics),
        "fits": asdict(trained.fits),
        "quick": trained.quick,
        "slices": trained.slices.summary() if trained.slices else None,
    }


def git_commit() -> str:
    """Return the commit this tree is at, marked where the tree differs from it; ``unknown`` outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}-modified" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()

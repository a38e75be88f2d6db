"""Prometheus' programs, where they are installed."""

import shutil

import pytest


def program(name: str) -> str:
    """Return a program's path; skip the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: make prometheus, or apt-get install prometheus prometheus-alertmanager")
    return found

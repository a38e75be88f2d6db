"""What a training run imports."""

import subprocess
import sys

import pytest

from training.family import families

TABULAR = sorted({*families()} - {"signflow"})


@pytest.mark.parametrize("family", TABULAR)
def test_a_tabular_family_trains_and_releases_without_torch(family: str) -> None:
    modules = f"training.cli, training.{family}.recipe, training.{family}.release"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

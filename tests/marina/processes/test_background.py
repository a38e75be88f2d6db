import subprocess
import sys

import pytest

from tests.serving import ROOT

CODE = """
import os, sys
from marina.processes.background import step_aside

os.nice(int(sys.argv[1]) - os.nice(0))
step_aside(10)
print(os.nice(0))
"""


@pytest.mark.parametrize(("before", "after"), [(3, 10), (15, 15)])
def test_a_process_steps_aside_and_never_comes_nearer(before: int, after: int) -> None:
    told = subprocess.run([sys.executable, "-c", CODE, f"{before}"], check=True, cwd=ROOT, capture_output=True)
    assert int(told.stdout) == after

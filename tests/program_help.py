"""What programs say with ``--help``, asked in one process: what they import is slow, and the same of most."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from tests.serving import ROOT

ASK = """
import contextlib, io, json, runpy, sys, traceback
answers = []
for program in json.load(sys.stdin):
    said, wrong, sys.argv = io.StringIO(), io.StringIO(), [*program, "--help"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try:
            if program[0] == "-m":
                del sys.argv[0]
                runpy.run_module(program[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program[0], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    answers.append((code, (wrong if code else said).getvalue()))
json.dump(answers, sys.stdout)
"""


def ask(programs: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return the exit status of each with ``--help``, and what it printed; on stderr where it failed.

    Parameters
    ----------
    programs
        Each a script below the root, or ``-m MODULE``, and its arguments.
    """
    asked = list(programs)
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK], input=json.dumps([one.split() for one in asked]), cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(asked, map(tuple, json.loads(done.stdout)), strict=True))

"""Work that may wait: it takes the processor time that serving leaves over."""

import contextlib
import os
from pathlib import Path

LOWEST = 19


def step_aside() -> None:
    """Give this process the lowest priority, in a session of its own.

    Linux may share the processor between sessions first (autogroup), and only within one by priority: so the session
    gets the lowest priority too.
    """
    os.nice(LOWEST)
    with contextlib.suppress(PermissionError):  # it leads a session or a group of processes already
        os.setsid()
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no autogroups here
            Path("/proc/self/autogroup").write_text(str(LOWEST))

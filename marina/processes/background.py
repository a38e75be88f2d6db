"""Work that may wait: what serves comes first."""

import contextlib
import os
from pathlib import Path


def step_aside(nice: int) -> None:
    """Give this process a lower priority, in a session of its own.

    Linux may share the processor between sessions first (autogroup), and only within one by priority: so the session
    gets the same.

    Parameters
    ----------
    nice
        From 1 to 19. Beside busy others, 10 is a tenth of a core, 19 hardly anything. A process that has a lower
        priority already keeps it: without privileges there is no way back.
    """
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(PermissionError):  # it leads a session or a group of processes already
        os.setsid()
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no autogroups here
            Path("/proc/self/autogroup").write_text(str(nice))

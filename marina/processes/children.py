"""Child processes that end when their parent does."""

import os
from collections.abc import Callable

from marina.processes.libc import PR_SET_PDEATHSIG, libc


def end_with_parent(signum: int) -> Callable[[], None]:
    """Make a ``preexec_fn``: the child gets `signum` when the supervisor dies, however it dies."""
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return arrange

"""How many cores there are to use."""

import os
from pathlib import Path


def usable_cores() -> int:
    """Count the cores this process may use: its affinity, capped by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()[:2]
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores

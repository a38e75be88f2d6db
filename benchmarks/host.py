"""The host a measurement was made on, in one line."""

import platform
from pathlib import Path

import psutil
import pynvml

from marina.processes.cpu import usable_cores


def describe_machine() -> str:
    """Return processor, cores, memory and GPUs, such as ``2 cores of AMD EPYC, 23 GiB, no GPU``."""
    memory = psutil.virtual_memory().total // 2**30
    return f"{usable_cores()} cores of {_processor()}, {memory} GiB, {', '.join(_gpus()) or 'no GPU'}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()

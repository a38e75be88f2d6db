"""GPUs, for Prometheus: what NVIDIA's driver says of each, without what cannot be."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from marina.events.exposition import Row, write_family


@dataclass(frozen=True)
class Reading:
    """Of one GPU; None for what the driver does not say.

    Attributes
    ----------
    index
        Its place among the machine's.
    utilisation, memory_utilisation
        Shares of the last interval in which a kernel ran, and memory was read or written.
    memory_used, memory_total
        Bytes.
    power_w, power_limit_w
        Watts.
    temperature_c
        Degrees Celsius.
    clock_mhz
        Of the multiprocessors.
    """

    index: int
    utilisation: float | None = None
    memory_utilisation: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None


SENSIBLE: dict[str, tuple[float, float]] = {
    "utilisation": (0.0, 1.0), "memory_utilisation": (0.0, 1.0), "memory_used": (0.0, 2.0**41),
    "memory_total": (2.0**20, 2.0**41), "power_w": (0.0, 2500.0), "power_limit_w": (1.0, 2500.0),
    "temperature_c": (-20.0, 150.0), "clock_mhz": (0.0, 10_000.0),
}  # fmt: skip
"""What a reading can be; drivers answer 2^32 - 1 and the like for what they cannot measure."""

FAMILIES = {
    "utilisation": ("marina_gpu_utilisation_ratio", "Share of the last interval in which a kernel ran."),
    "memory_utilisation": ("marina_gpu_memory_utilisation_ratio", "Share in which memory was read or written."),
    "memory_used": ("marina_gpu_memory_used_bytes", "Memory in use."),
    "memory_total": ("marina_gpu_memory_bytes", "Memory there is."),
    "power_w": ("marina_gpu_power_watts", "Power drawn."),
    "power_limit_w": ("marina_gpu_power_limit_watts", "Power it may draw."),
    "temperature_c": ("marina_gpu_temperature_celsius", "Temperature."),
    "clock_mhz": ("marina_gpu_clock_mhz", "Clock of the multiprocessors."),
}


class GpuReader(Protocol):
    """Where GPUs are read from."""

    def read(self) -> Sequence[Reading]:
        """Return a reading per GPU.

        Raises
        ------
        Exception
            Whatever the driver's library raises when it does not answer.
        """

    def read_faults(self) -> Sequence[tuple[int, int]]:
        """Return what the driver reported since the last call: index of the GPU and Xid, each as often as it came."""


class GpuMetrics:
    """Writes what a reader says.

    Parameters
    ----------
    reader
        None: this machine has no GPU that is to be watched, and nothing is written.
    """

    def __init__(self, reader: GpuReader | None) -> None:
        self._reader = reader
        self._faults: Counter[tuple[int, int]] = Counter()

    def collect(self, connection: sa.Connection, now: float) -> Iterable[list[str]]:
        """Write ``marina_gpu_up``, and of each GPU what makes sense."""
        del connection, now
        if self._reader is None:
            return
        readings: Sequence[Reading] = ()
        up = 1
        try:
            readings = self._reader.read()
            self._faults.update(self._reader.read_faults())
        except Exception:  # the library has exceptions of its own, and a lost driver is no reason to write nothing
            up = 0
        yield write_family("marina_gpu_up", "gauge", "1 where the GPU's driver answers, else 0.", [({}, up)])
        for field, (name, about) in FAMILIES.items():
            rows: list[Row] = [
                ({"gpu": str(one.index)}, value)
                for one in readings
                if (value := getattr(one, field)) is not None and makes_sense(field, value)
            ]
            yield write_family(name, "gauge", about, rows)
        faults: list[Row] = [({"gpu": str(gpu), "xid": str(x)}, n) for (gpu, x), n in sorted(self._faults.items())]
        yield write_family("marina_gpu_xid_total", "counter", "Faults that the driver reported, by Xid.", faults)


def makes_sense(field: str, value: float) -> bool:
    """Whether a reading is one that can be."""
    low, high = SENSIBLE[field]
    return low <= value <= high  # NaN is not


class NvmlReader:
    """NVIDIA's management library, by nvidia-ml-py."""

    def __init__(self) -> None:
        """Open the library.

        Raises
        ------
        Exception
            When there is no driver here (pynvml.NVMLError), or no such package.
        """
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        self._events: Any = None
        with contextlib.suppress(pynvml.NVMLError):
            self._events = pynvml.nvmlEventSetCreate()
            for handle in self._handles:
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def read(self) -> Sequence[Reading]:
        """Return a reading per GPU."""
        self._nvml.nvmlDeviceGetCount()  # raises where the driver is gone
        return [self._read(index, handle) for index, handle in enumerate(self._handles)]

    def read_faults(self) -> Sequence[tuple[int, int]]:
        """Return the Xids that came since the last call."""
        found: list[tuple[int, int]] = []
        with contextlib.suppress(self._nvml.NVMLError):  # which it also raises where there is none
            while self._events is not None and len(found) < 100:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
                found.append((self._nvml.nvmlDeviceGetIndex(event.device), int(event.eventData)))
        return found

    def _read(self, index: int, handle: Any) -> Reading:
        nvml = self._nvml
        used = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return Reading(
            index,
            utilisation=used and used.gpu / 100,
            memory_utilisation=used and used.memory / 100,
            memory_used=memory and float(memory.used),
            memory_total=memory and float(memory.total),
            power_w=None if power is None else power / 1000,
            power_limit_w=None if limit is None else limit / 1000,
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        )

    def _ask(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None


def find_gpus() -> GpuReader | None:
    """Return the machine's reader; None where there is no driver, or no GPU."""
    try:
        reader = NvmlReader()
        return reader if reader.read() else None
    except Exception:  # no package, no driver, no permission: nothing to watch
        return None

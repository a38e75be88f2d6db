"""GPUs from recorded readings; what drivers answer for what they cannot measure is left out."""

import math
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from marina.monitoring.gpu_metrics import GpuMetrics, Reading, find_gpus

GIB = 2.0**30
H100 = Reading(0, 0.97, 0.41, 61.2 * GIB, 79.6 * GIB, 612.3, 700.0, 64.0, 1755.0)


class Recorded:
    def __init__(self, readings: Sequence[Reading], faults: Sequence[tuple[int, int]] = (), gone: bool = False) -> None:
        self.readings, self.faults, self.gone = readings, faults, gone

    def read(self) -> Sequence[Reading]:
        if self.gone:
            raise OSError("the driver is gone")
        return self.readings

    def read_faults(self) -> Sequence[tuple[int, int]]:
        return self.faults


def lines(metrics: GpuMetrics) -> list[str]:
    with sa.create_engine("sqlite://").connect() as connection:
        return [line.strip() for family in metrics.collect(connection, 0.0) for line in family if line[0] != "#"]


def test_a_reading_is_written_whole() -> None:
    found = lines(GpuMetrics(Recorded([H100, replace(H100, index=1, temperature_c=40.0)])))
    assert "marina_gpu_up{} 1" in found and 'marina_gpu_utilisation_ratio{gpu="0"} 0.97' in found
    assert 'marina_gpu_temperature_celsius{gpu="1"} 40.0' in found and len(found) == 1 + 2 * 8


def test_what_cannot_be_is_left_out_and_the_rest_stays() -> None:
    absurd = replace(H100, power_w=4294967.295, temperature_c=math.nan, memory_used=2.0**64, clock_mhz=None)
    found = lines(GpuMetrics(Recorded([absurd])))
    assert len(found) == 1 + 4 and not any("watts{" in line and "4294967" in line for line in found)


def test_a_driver_that_is_gone_is_down_and_ends_no_scrape() -> None:
    assert lines(GpuMetrics(Recorded([], gone=True))) == ["marina_gpu_up{} 0"]


def test_faults_are_counted_by_xid_as_they_come() -> None:
    metrics = GpuMetrics(Recorded([H100], [(0, 79), (0, 79), (0, 31)]))
    lines(metrics)
    assert 'marina_gpu_xid_total{gpu="0",xid="79"} 4' in lines(metrics)


def test_a_machine_without_a_gpu_has_no_such_metric() -> None:
    assert lines(GpuMetrics(None)) == []
    find_gpus()  # raises nothing, whatever there is here

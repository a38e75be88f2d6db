import os

import sqlalchemy as sa

from marina.monitoring.process_metrics import ProcessMetrics, ProcessTree, Usage, name_part
from marina.serving.sidecars import MODULES


class Recorded:
    def __init__(self, *readings: list[Usage]) -> None:
        self._readings = list(readings)

    def read(self) -> list[Usage]:
        return self._readings.pop(0)


def lines(metrics: ProcessMetrics) -> list[str]:
    with sa.create_engine("sqlite://").connect() as connection:
        return [line.strip() for family in metrics.collect(connection, 0.0) for line in family if line[0] != "#"]


def test_processor_time_of_a_worker_that_ended_stays_counted() -> None:
    one = Usage((1, 1.0), "python -m marina.serving.worker", 5.0, 100, 10)
    again = Usage((1, 9.0), "python -m marina.serving.worker", 1.0, 50, None)  # its number, used again
    metrics = ProcessMetrics(Recorded([one], [again], []))
    name = 'marina_process_cpu_seconds_total{part="worker"}'
    assert f"{name} 5.0" in lines(metrics)
    second = lines(metrics)
    assert f"{name} 6.0" in second and 'marina_process_resident_bytes{part="worker"} 50.0' in second
    assert f"{name} 6.0" in lines(metrics)


def test_parts_are_a_closed_set() -> None:
    for command, part in (
        ("/x/.venv/bin/python -m marina.events.collector", "collector"), ("python -m marina.monitoring.api", "api"),
        ("nginx: worker process", "gateway"), ("/opt/jdk/bin/java -cp org.pytorch.serve", "torchserve"),
        ("python scripts/serve.py --sample", "supervisor"), ("python /x/scripts/loop.py daemon", "loop"),
        ("vi", "other"),
    ):  # fmt: skip
        assert name_part(command) == part
    assert {name: name_part(f"/x/bin/python -m {module}") for name, module in MODULES.items()} == {
        n: n for n in MODULES
    }


def test_this_very_process_is_read() -> None:
    [*found] = ProcessTree(os.getpid()).read()
    assert found[0].key[0] == os.getpid() and found[0].resident_bytes > 1e6 and found[0].cpu_s > 0
    assert ProcessTree(2**22 + 1).read() == []

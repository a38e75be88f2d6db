"""Every run in MLflow: parameters, metrics per epoch, pictures, which data and which code.

Local SQLite by default; a server where ``MLFLOW_TRACKING_URI`` names one. Show it with
``mlflow ui --backend-store-uri sqlite:///.marina/mlflow.db``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archives.tracking_store import TrackingStoreError, connect, explained, quiet
from training.data.manifest import Manifest
from training.neural.schedule import Epoch
from training.packaging.provenance import git_commit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


OnEpoch = Callable[[Epoch], None]


def ignore(epoch: Epoch) -> None:
    """Take an epoch and do nothing with it."""


@dataclass(frozen=True)
class Run:
    """One MLflow run under way."""

    client: Any
    id: str
    experiment: str

    def epoch(self, epoch: Epoch) -> None:
        """Log an epoch's numbers."""
        self.metrics(
            {"loss": epoch.loss, "learning_rate": epoch.learning_rate, **_named("validation", epoch.metrics)},
            epoch.number,
        )

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers, all at once."""
        self.client.log_batch(self.id, metrics=_metrics(values, step))

    def figure(self, figure: Figure, name: str) -> None:
        """Log a picture as a PNG."""
        with _kept():
            self.client.log_figure(self.id, figure, f"{name}.png")

    def text(self, text: str, name: str) -> None:
        """Log a text file."""
        with _kept():
            self.client.log_text(self.id, text, name)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log what was only found out in the run, such as what a search chose."""
        from mlflow.entities import Param

        self.client.log_batch(self.id, params=[Param(key, str(value)) for key, value in values.items()])

    def child(self, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log a run below this one that is over already, such as a trial of a search."""
        from mlflow.entities import Param
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        started = self.client.create_run(self.experiment, run_name=name, tags={MLFLOW_PARENT_RUN_ID: self.id}).info
        logged = [Param(key, str(value)) for key, value in params.items()]
        self.client.log_batch(started.run_id, metrics=_metrics(metrics, 0), params=logged)
        self.client.set_terminated(started.run_id)


@contextmanager
def run(
    family: str, home: Path, params: Mapping[str, Any], data: Manifest | None = None, model: str = ""
) -> Iterator[Run]:
    """Open a run; it ends as FINISHED, or as FAILED or KILLED when an exception or an interrupt leaves the block.

    Parameters
    ----------
    family
        Name of the experiment.
    home
        Folder of the local database and artifacts, used unless ``MLFLOW_TRACKING_URI`` is set.
    params
        Logged at once, and so is the git commit; at the end a tag says how many seconds of GPUs it used.
    data
        What it is trained on: its hash becomes a tag, its manifest and ``.dvc`` file artifacts.
    model
        Which of the family's models, where it has several.

    Raises
    ------
    archives.tracking_store.TrackingStoreError
        If MLflow cannot be reached, or keeps nothing.
    """
    with quiet(), explained():
        from mlflow.entities import Param

        client, artifacts = connect(home)
        identifier = _experiment(client, family, artifacts)
        tags = {"git_commit": git_commit()}
        tags |= {"data_manifest_sha256": data.sha256} if data else {}
        tags |= {"model": model} if model else {}
        started = client.create_run(identifier, tags=tags)
        opened = Run(client, started.info.run_id, identifier)
        client.log_batch(opened.id, params=[Param(name, str(value)) for name, value in params.items()])
        if data:
            opened.text(data.to_json(), "data/manifest.json")
            opened.text(data.dvc_file(), f"data/{data.name}.dvc")
        status, began, before = "FAILED", time.monotonic(), gpu_allocations()
        try:
            yield opened
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            used = sum(after > before.get(gpu, 0) for gpu, after in gpu_allocations().items())
            if "TORCHELASTIC_RUN_ID" in os.environ:  # each of torchrun's processes has a GPU of its own
                used *= int(os.environ["WORLD_SIZE"])
            client.set_tag(opened.id, "gpu_seconds", f"{used * (time.monotonic() - began):.3f}")
            client.set_terminated(opened.id, status)


def gpu_allocations() -> dict[int, int]:
    """Return how often this process took memory of each GPU that it has used so far; nothing where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    count = range(torch.cuda.device_count())
    return {gpu: int(torch.cuda.memory_stats(gpu).get("allocation.all.allocated", 0)) for gpu in count}


def _experiment(client: Any, family: str, artifacts: str | None) -> str:
    """Return the experiment of a name: made where there is none, restored where it was deleted."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(family)
    if found is None:
        try:
            return str(client.create_experiment(family, artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(family)  # another process has made it meanwhile
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrackingStoreError(
            f"cannot write the run's artifacts: {error}. Make the folder that its experiment names in MLflow writable, "
            "or make space there"
        ) from error


def _metrics(values: Mapping[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    return [Metric(name, float(value), now, step) for name, value in values.items()]


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in values.items()}

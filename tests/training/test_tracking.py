import shutil
import socket
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from archives import tracking_store
from archives.errors import MarinaError
from archives.registry import Registry
from archives.tracking_store import TrackingStoreError, quiet
from training import tracking
from training.data import manifest
from training.neural.schedule import Epoch


def runs(home: Path) -> tuple[Any, Any]:
    with quiet():
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        return client, client.search_runs([client.get_experiment_by_name("family").experiment_id])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "state"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database without runs; making one takes a second."""
    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = tmp_path_factory.mktemp("empty")
        tracking_store.connect(made)
        yield made / "mlflow.db"


@pytest.fixture
def made(home: Path, empty: Path) -> Path:
    """A state folder with a database."""
    home.mkdir()
    shutil.copy(empty, home / "mlflow.db")
    return home


def test_a_run_keeps_params_metrics_per_epoch_texts_and_tags(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = manifest.of_arrays({"rows": np.zeros(3)}, "rows")
    with tracking.run("family", home, {"size": "small"}, data, "its_model") as run:
        for number in (1, 2):
            run.epoch(Epoch(number, 1 / number, 0.1, 0.5, {"accuracy": 0.5}))
        run.text("hello", "note.txt")
    client, found = runs(home)
    assert [one.info.status for one in found] == ["FINISHED"]
    assert found[0].data.params == {"size": "small"}
    tags = found[0].data.tags
    assert (tags["data_manifest_sha256"], tags["model"]) == (data.sha256, "its_model")
    assert "git_commit" in tags and float(tags["gpu_seconds"]) == 0
    assert [metric.value for metric in client.get_metric_history(run.id, "loss")] == [1.0, 0.5]
    assert found[0].data.metrics["validation_accuracy"] == 0.5
    assert [file.path for file in client.list_artifacts(run.id)] == ["data", "note.txt"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("launched", "gpus"), [(False, 1), (True, 4)])
def test_seconds_of_gpus_are_those_of_every_process_that_torchrun_started(
    made: Path, monkeypatch: pytest.MonkeyPatch, launched: bool, gpus: int
) -> None:
    """Torch's counters stand in for two GPUs, of which one is used; other launchers set WORLD_SIZE as well."""
    taken = [5, 7]
    cuda = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, device_count=lambda: len(taken),
        memory_stats=lambda gpu: {"allocation.all.allocated": taken[gpu]},
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    with tracking.run("family", made, {}):
        began = time.monotonic()
        taken[1] += 1
        time.sleep(0.3)
        took = time.monotonic() - began
    assert float(runs(made)[1][0].data.tags["gpu_seconds"]) == pytest.approx(gpus * took, rel=0.5)


def test_a_run_that_breaks_is_marked_as_failed(made: Path) -> None:
    with pytest.raises(RuntimeError), tracking.run("family", made, {}):
        raise RuntimeError
    assert [one.info.status for one in runs(made)[1]] == ["FAILED"]


def test_the_environment_names_another_server(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.chdir(tmp_path)
    with tracking.run("family", home, {}):
        pass
    assert (tmp_path / "elsewhere.db").exists()
    assert not home.exists()


def test_an_experiment_that_was_deleted_is_restored(made: Path) -> None:
    for _ in range(2):
        with tracking.run("family", made, {}):
            pass
        client, found = runs(made)
        client.delete_experiment(found[0].info.experiment_id)
    with tracking.run("family", made, {}):
        pass
    client = runs(made)[0]
    assert client.get_experiment_by_name("family").lifecycle_stage == "active"


def test_an_experiment_that_another_process_makes_meanwhile_is_used(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.run("family", made, {}):
        pass
    whole, asked = MlflowClient.get_experiment_by_name, []

    def late(client: MlflowClient, name: str) -> Any:
        asked.append(name)
        return whole(client, name) if len(asked) > 1 else None

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    with tracking.run("family", made, {}):
        pass
    assert len(asked) == 2


def test_a_run_that_was_deleted_while_it_goes_on_is_explained(made: Path) -> None:
    with (
        pytest.raises(TrackingStoreError, match=r"was deleted in MLflow: restore it there \(`mlflow runs restore"),
        tracking.run("family", made, {}) as run,
    ):
        run.client.delete_run(run.id)
        run.metrics({"loss": 1.0})


def test_artifacts_that_cannot_be_written_are_explained(made: Path) -> None:
    (made / "mlflow").write_text("in the way")
    with (
        pytest.raises(TrackingStoreError, match="cannot write the run's artifacts"),
        tracking.run("family", made, {}) as run,
    ):
        run.text("words", "words.txt")


class _Server(BaseHTTPRequestHandler):
    status = 503

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def ailing() -> Iterator[int]:
    """A server that answers 503."""
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:1", "nothing answers there"),
        ("http://ada:secret@127.0.0.1:1/path", "nothing answers there"),
        ("http://127.0.0.1:{silent}", "nothing answers there"),
        ("http://127.0.0.1:{ailing}", "it answers 503"),
        ("http://no.such.host.invalid:5000", "nothing answers there"),
        ("http://", "that is no address"),
        ("ftp://127.0.0.1/x", "failed: "),
        ("postgresql://ada:secret@127.0.0.1:1/runs", "nothing answers there"),
        ("mysql+pymysql://ada:secret@no.such.host.invalid/runs", "nothing answers there"),
    ],
)
def test_a_server_that_is_away_is_explained_in_bounded_time(
    home: Path, monkeypatch: pytest.MonkeyPatch, silent: int, ailing: int, uri: str, said: str
) -> None:
    monkeypatch.setattr(tracking_store, "ANSWERS_S", (1.0, 1.0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(silent=silent, ailing=ailing))
    started = time.monotonic()
    for ask in (lambda: tracking.run("family", home, {}).__enter__(), lambda: Registry(home).find("signflow", "1.0")):
        with pytest.raises(MarinaError, match=said) as told:
            ask()
        assert "MLFLOW_TRACKING_URI" in str(told.value) and "secret" not in str(told.value)
        assert "\n" not in str(told.value)
    assert time.monotonic() - started < 30
    assert not home.exists()

import numpy as np
import pytest
from mlflow import MlflowClient

from archives.tracking_store import quiet
from training import tracking
from training.data import manifest
from training.loop import Epoch


def runs(home):
    with quiet():
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        return client, client.search_runs([client.get_experiment_by_name("family").experiment_id])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "state"


def test_a_run_keeps_params_metrics_per_epoch_texts_and_tags(home, capfd):
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
    assert "git_commit" in tags
    assert [metric.value for metric in client.get_metric_history(run.id, "loss")] == [1.0, 0.5]
    assert found[0].data.metrics["validation_accuracy"] == 0.5
    assert [file.path for file in client.list_artifacts(run.id)] == ["data", "note.txt"]
    assert capfd.readouterr() == ("", "")


def test_a_run_that_breaks_is_marked_as_failed(home):
    with pytest.raises(RuntimeError), tracking.run("family", home, {}):
        raise RuntimeError
    assert [one.info.status for one in runs(home)[1]] == ["FAILED"]


def test_the_environment_names_another_server(home, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.chdir(tmp_path)
    with tracking.run("family", home, {}):
        pass
    assert (tmp_path / "elsewhere.db").exists()
    assert not home.exists()

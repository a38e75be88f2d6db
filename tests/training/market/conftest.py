import pytest


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def own_records(state_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tracked in MLflow is tracked in a folder of the tests."""
    monkeypatch.setenv("MARINA_STATE_DIR", state_dir)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

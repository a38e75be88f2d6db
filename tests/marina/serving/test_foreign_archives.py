"""Whatever lies in the store, the server starts and serves what it can."""

import json
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.serving import PREDICTS, archive, running


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_foreign_files_in_the_store_keep_no_model_from_being_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    archive(store)
    with zipfile.ZipFile(store / "densenet161.mar", "w") as content:
        content.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": "densenet161"}}))
        content.writestr("model.pth", b"weights")
    (store / "resnet-1.0.mar").write_bytes((store / "densenet161.mar").read_bytes())
    (store / "empty.mar").touch()
    (store / "notes.mar").write_text("densenet161 is the one of last year")
    (store / "folder.mar").mkdir()
    overrides = PREDICTS | {"archive_store": str(store), "worker_paths": json.dumps([str(tmp_path)])}
    with running([], overrides) as server:
        assert httpx.post(f"{server.url}/predictions/echo", json={}, timeout=60).status_code == 200
        said = server.output.read_text()
        for name in ("densenet161.mar", "resnet-1.0.mar", "empty.mar", "notes.mar", "folder.mar"):
            assert said.count(f"skipped: {name} ") == 1
        assert said.count("made by torch-model-archiver") == 2 and "convert it" in said
        assert list(httpx.get(f"{server.url}/ping").json()["models"]) == ["echo"]

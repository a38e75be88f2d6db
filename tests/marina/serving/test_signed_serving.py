"""A real server serves what somebody who is trusted signed, and asks again at each start."""

import time
from pathlib import Path

import httpx
import pytest

from archives.archive import open_archive
from archives.keys import Key, own_key
from archives.signatures import sign, signature_path
from tests.serving import PREDICTS, archive, running


def signed(folder: Path, model: str, key: Key) -> Path:
    path = archive(folder, model)
    signature_path(path).write_bytes(sign(open_archive(path), key))
    return path


@pytest.mark.slow
def test_what_a_revoked_key_signed_is_not_served_after_the_next_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    builder, stolen = own_key(tmp_path / "builder.key", keys), own_key(tmp_path / "stolen.key", keys)
    settings = PREDICTS | {"state_dir": str(tmp_path / "state"), "archive_store": str(tmp_path / "store")}
    settings |= {"signers": str(keys), "unsigned": "refuse"}
    with running([signed(tmp_path, "good", builder), signed(tmp_path, "doubtful", stolen)], settings) as server:
        for model in ("good", "doubtful"):
            assert httpx.post(f"{server.url}/predictions/{model}", json={}).status_code == 200
    (keys / "revoked").write_text(f"{stolen.id}\n")
    with running([], settings, wait=False) as server:
        end = time.monotonic() + 120
        while "serving good 1.0" not in server.output.read_text() and time.monotonic() < end:
            time.sleep(0.2)
        said = server.output.read_text()
        assert "doubtful 1.0 cannot be served" in said and "which was revoked" in said, said
        assert httpx.post(f"{server.url}/predictions/good", json={}).status_code == 200
        refused = httpx.post(f"{server.url}/predictions/doubtful", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_refused")

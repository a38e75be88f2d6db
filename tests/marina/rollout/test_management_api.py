"""TorchServe's management verbs: each changes what is declared and adds a row to the ledger, or is refused."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.releases import ledger
from marina.releases.declarations import Declaration, from_json
from marina.rollout.audit import audit
from marina.rollout.management_api import ManagementApi
from marina.settings import Settings
from tests.marina.rollout.releases import begin, latest, supervise
from tests.serving import Server, archive, manage, running


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "store").mkdir()
    return Settings(state_dir=tmp_path / "state", archive_store=tmp_path / "store", unsigned="allow")


@pytest.fixture
def api(database: Database, settings: Settings) -> Iterator[httpx.Client]:
    with tempfile.TemporaryDirectory(prefix="marina-test-") as folder:  # a socket's path is short
        socket = Path(folder) / "changes.sock"
        served = ManagementApi(database, settings, socket)
        while not socket.exists():
            time.sleep(0.01)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://marina") as client:
            yield client
        served.stop()


def stored(settings: Settings, model: str = "echo", version: str = "1.0") -> str:
    return archive(settings.archive_store, model, version).name


def declared(database: Database) -> dict[tuple[str, str], tuple[float, int]]:
    with database.reading() as connection:
        rows = connection.execute(sa.select(DECLARATIONS)).all()
    return {(row.model, row.version): (row.weight, row.workers) for row in rows}


def actions(database: Database, model: str = "echo") -> list[tuple[str, str]]:
    with database.reading() as connection:
        assert audit(connection) == []
        return [(entry.action, entry.who) for entry in ledger.entries(connection, model)]


def code(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"]
    return str(error["code"])


def test_the_first_version_of_a_model_gets_its_traffic_and_a_later_one_waits(
    api: httpx.Client, database: Database, settings: Settings
) -> None:
    for version in ("1.0", "2.0"):
        answer = api.post("/models", params={"url": stored(settings, version=version)})
        assert answer.status_code == 202 and f"Version: {version} registered" in answer.json()["status"]
    assert declared(database) == {("echo", "1.0"): (1.0, 0), ("echo", "2.0"): (0.0, 0)}
    assert actions(database) == [("declare", "management API"), ("register", "management API")]
    with database.reading() as connection:
        kept = Declaration(settings.state_dir / "declared").read(connection)
    for one in kept:  # it is served from a copy: what happens to the store's file is nothing to it
        one.archive.unlink()
        assert Declaration(settings.state_dir / "declared").fetch(one).sha256 == one.sha256


UNREGISTRABLE: list[tuple[dict[str, str], int, str]] = [
    ({}, 400, "bad_query"),
    ({"url": "nothing-1.0.mar"}, 404, "unknown_archive"),
    ({"url": "echo-1.0.mar", "batch_size": "8"}, 400, "bad_query"),
    ({"url": "echo-1.0.mar", "handler": "os:system"}, 400, "bad_query"),
    ({"url": "other-1.0.mar"}, 409, "refused"),
    ({"url": "foreign.mar"}, 409, "refused"),
]


def test_what_cannot_be_registered_is_refused_and_leaves_nothing(
    api: httpx.Client, database: Database, settings: Settings
) -> None:
    shutil.copy(settings.archive_store / stored(settings), settings.archive_store / "other-1.0.mar")
    (settings.archive_store / "foreign.mar").write_text("no archive")
    for query, status, what in UNREGISTRABLE:
        assert code(api.post("/models", params=query), status) == what
    assert declared(database) == {} and actions(database) == []


def test_a_version_is_registered_once(api: httpx.Client, settings: Settings) -> None:
    name = stored(settings)
    api.post("/models", params={"url": name})
    assert code(api.post("/models", params={"url": name}), 409) == "registered"


def test_a_number_of_workers_is_kept(api: httpx.Client, database: Database, settings: Settings) -> None:
    api.post("/models", params={"url": stored(settings)})
    for path in ("/models/echo", "/models/echo/1.0"):  # but for the first, they change nothing
        for query in ("min_worker=3", "max_worker=3", "min_worker=3&max_worker=3&synchronous=true"):
            assert api.put(f"{path}?{query}").status_code == 202
    assert declared(database)["echo", "1.0"] == (1.0, 3)
    assert actions(database)[1:] == [("scale", "management API")]
    with database.reading() as connection:
        [one] = Declaration(settings.state_dir / "declared").read(connection)
    assert Declaration(settings.state_dir / "declared").fetch(one).serving.workers == 3


UNSCALABLE = [
    ("echo/1.0?min_worker=0", 400, "bad_workers"),
    ("echo/1.0?min_worker=1000", 400, "bad_workers"),
    ("echo/1.0?min_worker=1&max_worker=4", 400, "bad_workers"),
    ("echo/1.0", 400, "bad_workers"),
    ("echo/1.0?min_worker=2&batch_size=9", 400, "bad_query"),
    ("echo/9?min_worker=2", 404, "unknown_version"),
    ("ghost?min_worker=2", 404, "unknown_model"),
    ("echo/1.0/set-best", 404, "no_such_call"),
]


def test_what_cannot_be_scaled_is_refused(api: httpx.Client, database: Database, settings: Settings) -> None:
    api.post("/models", params={"url": stored(settings)})
    for path, status, what in UNSCALABLE:
        assert code(api.put(f"/models/{path}"), status) == what
    assert declared(database) == {("echo", "1.0"): (1.0, 0)}


def test_set_default_is_a_rollout_in_one_step(api: httpx.Client, database: Database, settings: Settings) -> None:
    for version in ("1.0", "2.0"):
        api.post("/models", params={"url": stored(settings, version=version)})
    assert api.put("/models/echo/1.0/set-default").status_code == 200  # it is already
    answer = api.put("/models/echo/2.0/set-default")
    assert answer.status_code == 202 and "rollback.py" in answer.json()["status"]
    rollout = latest(database, "echo")
    assert (rollout.stable, rollout.canary, [step.share for step in rollout.policy.steps]) == ("1.0", "2.0", [1.0])
    assert code(api.put("/models/echo/2.0/set-default"), 409) == "refused"  # a rollout is open
    assert code(api.put("/models/echo/3.0/set-default"), 404) == "unknown_version"


def test_a_version_without_traffic_is_unregistered(api: httpx.Client, database: Database, settings: Settings) -> None:
    for version in ("1.0", "2.0"):
        api.post("/models", params={"url": stored(settings, version=version)})
    assert api.delete("/models/echo/2.0").json() == {"status": 'Model "echo" Version: 2.0 unregistered'}
    assert list(declared(database)) == [("echo", "1.0")]
    assert actions(database)[-1] == ("unregister", "management API")


def test_no_traffic_is_left_without_a_version(api: httpx.Client, database: Database, settings: Settings) -> None:
    assert code(api.delete("/models/echo"), 404) == "unknown_model"
    api.post("/models", params={"url": stored(settings)})
    assert code(api.delete("/models/echo/1.0"), 409) == "last_version"
    api.post("/models", params={"url": stored(settings, version="2.0")})
    assert code(api.delete("/models/echo/1.0"), 409) == "has_traffic"
    assert code(api.delete("/models/echo"), 409) == "has_traffic"
    api.post("/models", params={"url": stored(settings, model="other")})
    assert api.delete("/models/other").status_code == 200


def test_what_is_being_rolled_out_is_not_unregistered(
    api: httpx.Client, database: Database, settings: Settings
) -> None:
    api.post("/models", params={"url": stored(settings, model="sums")})
    begin(database)
    for version in ("1.0", "2.0"):
        assert code(api.delete(f"/models/sums/{version}"), 409) == "in_rollout"


def test_a_synchronous_registration_waits_until_it_serves(
    api: httpx.Client, database: Database, settings: Settings
) -> None:
    name = stored(settings)
    api.post("/models", params={"url": name})
    supervise(database)
    stored(settings, version="2.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marina.rollout.management_api.LOAD_S", 0.5)
        answer = api.post("/models", params={"url": "echo-2.0.mar", "synchronous": "true"})
    assert code(answer, 409) == "not_ready"


def test_a_database_that_is_away_is_said(api: httpx.Client, database: Database, settings: Settings) -> None:
    api.post("/models", params={"url": stored(settings)})
    with database.writing() as connection:
        connection.execute(sa.text("ALTER TABLE ledger RENAME TO elsewhere"))
    answer = api.put("/models/echo?min_worker=2")
    assert code(answer, 503) == "database_away" and answer.headers["retry-after"]


def test_a_note_from_before_there_was_a_number_of_workers_is_read() -> None:
    row = {"model": "m", "version": "1", "archive": "/a/m-1.mar", "sha256": "0" * 64, "weight": 1.0,
           "input_share": 0.0, "signed_by": ""}  # fmt: skip
    assert from_json([row])[0].workers == 0


# ---- against a whole server -----------------------------------------------------------------------------------------


def until_answers(server: Server, path: str, version: str) -> None:
    end = time.monotonic() + 60
    while True:
        answer = httpx.post(f"{server.url}{path}", json={}, timeout=10)
        if answer.status_code == 200 and answer.json()["version"] == version:
            return
        assert time.monotonic() < end, answer.text
        time.sleep(0.1)


def workers(server: Server, version: str) -> int:
    return len(server.worker_pids("echo", version))


@pytest.mark.slow
def test_a_server_does_what_torchserves_users_type(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    archive(store, version="2.0")
    with running([archive(tmp_path / "first")], {"archive_store": str(store)}) as server:
        registered = manage(server, "POST", "/models?url=echo-2.0.mar&initial_workers=1&synchronous=true")
        assert registered.status_code == 200, registered.text
        until_answers(server, "/predictions/echo/2.0", "2.0")
        until_answers(server, "/predictions/echo", "1.0")
        assert manage(server, "PUT", "/models/echo/2.0?min_worker=2").status_code == 202
        end = time.monotonic() + 60
        while workers(server, "2.0") != 2:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert manage(server, "PUT", "/models/echo/2.0/set-default").status_code == 202
        until_answers(server, "/predictions/echo", "2.0")
        unknown = manage(server, "DELETE", "/models/echo/9.0")
        assert unknown.status_code == 404 and unknown.json()["error"]["request_id"]
        listed = manage(server, "GET", "/models/echo/all").json()
        assert {one["modelVersion"] for one in listed} == {"1.0", "2.0"}

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EARLY_LABELS, LABELS, PREDICTIONS
from marina.settings import ROOT
from tests import postgres

FIRST = {"request_id": "a", "label": "cat"}


@contextlib.contextmanager
def serving(database_url: str, folder: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Run the API as the supervisor does; its own words go to api.log."""
    environment = {**os.environ, "MARINA_DATABASE_URL": database_url, "MARINA_RUN_DIR": str(folder)}
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "marina.events.api"], env=environment, cwd=ROOT, stderr=log)
    place, end = str(folder / "events.sock"), time.monotonic() + 60
    try:
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as tried:
                tried.connect(place)
                break
            assert time.monotonic() < end and process.poll() is None, (folder / "api.log").read_text()
            time.sleep(0.05)
        transport = httpx.HTTPTransport(uds=place)
        with httpx.Client(transport=transport, base_url="http://events", timeout=60) as client:
            yield client, process
    finally:
        process.kill()
        process.wait()


def post(client: httpx.Client, body: object, source: str = "address 10.0.0.9") -> httpx.Response:
    return client.post("/feedback", json=body, headers={"X-Request-Id": "q1", "X-Source": source})


def kept(database: Database, table: sa.Table = LABELS) -> int:
    with database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_labels_are_taken_counted_and_scraped(database: Database, database_url: str, tmp_path: Path) -> None:
    row = {"model": "m", "version": "1.0", "instance": 0, "time": 1.0, "picked": True, "label": "cat", "answer": "[]"}
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, [row | {"request_id": name} for name in "ab"])
    with serving(database_url, tmp_path) as (client, process):
        answer = post(client, FIRST)
        assert answer.status_code == 200
        assert answer.json() == {"outcomes": ["recorded"], "counts": {"recorded": 1}}
        many = [FIRST, {"request_id": "b", "label": "dog", "instance": 0}, {"request_id": "later", "label": "cat"}]
        answer = post(client, {"labels": [*many, {"request_id": "a", "label": "dog"}]})
        assert answer.json()["outcomes"] == ["duplicate", "recorded", "early", "conflict"]
        assert (
            'marina_feedback_labels_total{source="address 10.0.0.9",outcome="conflict"} 1\n'
            in client.get("/metrics").text
        )
        scraped = client.get("/metrics")
        assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'marina_labels_total{model="m",version="1.0"} 2\n' in scraped.text
        assert 'marina_right_answers_total{model="m",version="1.0"} 1\n' in scraped.text
        assert 'marina_feedback_labels_total{source="address 10.0.0.9",outcome="conflict"} 1\n' in scraped.text
        process.terminate()
        assert process.wait(10) == 0
    assert (tmp_path / "api.log").read_text() == ""


def test_the_same_labels_from_many_at_once_are_kept_once(database: Database, database_url: str, tmp_path: Path) -> None:
    body = {"labels": [{"request_id": f"r{k}", "label": "cat"} for k in range(200)]}
    with serving(database_url, tmp_path) as (client, _), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, body).json()["counts"], range(8)))
    assert sum(one.get("early", 0) for one in answers) == 200
    assert sum(one.get("duplicate", 0) for one in answers) == 7 * 200
    assert kept(database, EARLY_LABELS) == 200


def test_more_early_labels_than_are_kept_are_refused_until_later(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    row = {"model": "m", "version": "1.0", "instance": 0, "time": 1.0, "picked": True, "label": "cat", "answer": "[]"}
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, [row | {"request_id": "a"}])
    with serving(database_url, tmp_path) as (client, _):
        flood = [
            {"labels": [{"request_id": f"{post}-{at}", "label": "cat"} for at in range(1000)]} for post in range(11)
        ]
        answers = [post(client, body) for body in flood]
        assert [one.status_code for one in answers] == [200] * 10 + [429]
        last = post(client, {"labels": [FIRST, {"request_id": "b", "label": "cat"}]})
        assert (last.status_code, last.headers["Retry-After"]) == (429, "10")
        assert last.json()["outcomes"] == ["recorded", "refused"]
        assert last.json()["error"]["code"] == "too_many_early_labels" and last.json()["error"]["request_id"] == "q1"
        assert post(client, {"request_id": "b", "label": "cat"}, "address 10.0.0.8").json()["outcomes"] == ["early"]
        assert "\nmarina_early_labels{} 10001\n" in client.get("/metrics").text
    assert kept(database, EARLY_LABELS) == 10_001


def test_a_flood_of_labels_is_refused_and_others_are_served(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    body = {"labels": [{"request_id": f"r{k}", "label": "cat"} for k in range(1000)]}
    with serving(database_url, tmp_path) as (client, _), ThreadPoolExecutor(20) as pool:
        flood = [pool.submit(post, client, body) for _ in range(60)]
        other = post(client, FIRST, "address 10.0.0.8")
        assert other.status_code == 200
        answers = [one.result() for one in flood]
    assert {one.status_code for one in answers} == {200, 429}
    assert {one.headers.get("Retry-After") for one in answers} == {None, "1"}


def test_a_database_that_is_none_is_one_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "torn.db").write_bytes(b"nonsense" * 1000)
    with serving(f"sqlite:///{tmp_path}/torn.db", tmp_path) as (client, process):
        answer = post(client, FIRST)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert client.get("/metrics").status_code == 503
        assert process.poll() is None


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("nonsense", 400, "body"),
        ("[]", 422, "body"),
        ("{}", 422, "request_id"),
        ('{"request_id": "a b", "label": "cat"}', 422, "request_id"),
        ('{"request_id": 7, "label": "cat"}', 422, "request_id"),
        ('{"request_id": "a"}', 422, "label"),
        ('{"request_id": "a", "label": ""}', 422, "label"),
        ('{"request_id": "a", "label": "\\u0000"}', 422, "label"),
        (json.dumps({"request_id": "a", "label": "c" * 257}), 422, "label"),
        ('{"request_id": "a", "label": "cat", "instance": -1}', 422, "instance"),
        ('{"request_id": "a", "label": "cat", "instance": true}', 422, "instance"),
        ('{"request_id": "a", "label": "cat", "time": 1}', 422, "time"),
        ('{"labels": []}', 422, "labels"),
        (json.dumps({"labels": [FIRST] * 1001}), 422, "labels"),
        (json.dumps({"labels": ["c" * 3_000_000]}), 413, "body"),
        ('{"labels": [], "model": "m"}', 422, "model"),
        (json.dumps({"labels": [FIRST, {"label": "cat"}]}), 422, "labels[1].request_id"),
        (json.dumps({"labels": [FIRST, "cat"]}), 422, "labels[1]"),
    ],
)
def test_what_is_no_label_is_refused_by_field(body: str, status: int, field: str, refusing: httpx.Client) -> None:
    answer = refusing.post("/feedback", content=body, headers={"X-Request-Id": "q1"})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"], error["request_id"]) == (status, field, "q1")
    assert error["expected"] and error["received"] and field in error["message"]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("api")
    with serving(f"sqlite:///{folder}/none.db", folder) as (client, _):  # which it never gets to ask
        yield client


def test_other_paths_and_methods_are_told_what_is_here(refusing: httpx.Client) -> None:
    for answer, status in ((refusing.get("/x"), 404), (refusing.get("/feedback"), 405)):
        assert answer.status_code == status
        assert "POST /feedback" in answer.json()["error"]["message"]


def test_while_the_database_is_away_labels_are_refused_and_none_is_lost(
    postgres_server: postgres.Postgres, tmp_path: Path
) -> None:
    with postgres.running() as server:
        database = Database(server.fresh("away"))
        database.upgrade()
        with serving(server.url("away"), tmp_path) as (client, process):
            assert post(client, FIRST).status_code == 200
            server.kill()
            for _ in range(3):
                answer = post(client, {"request_id": "b", "label": "cat"})
                assert answer.status_code == 503 and answer.headers["Retry-After"] == "2"
                assert answer.json()["error"]["code"] == "database_away"
                assert client.get("/metrics").status_code == 503
            server.start()
            assert post(client, {"request_id": "b", "label": "cat"}).json()["outcomes"] == ["early"]
            assert process.poll() is None
        assert kept(database, EARLY_LABELS) == 2
        database.close()
    said = (tmp_path / "api.log").read_text().splitlines()
    assert len(said) == 2 and "unavailable" in said[0] and "available again" in said[1]

"""SignFlow behind the real TorchServe and the real gateway, as clients meet it."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.load_generator import drive
from handlers.decoding import JSON, NPY
from tests.archives.rewrite import members_of, recertified, renamed
from tests.archives.test_certificate import with_moved_weight
from tests.bad_requests import npy
from tests.families.signflow import bad_requests, frames_of
from tests.serving import PREDICTS, Server, running

BAD = bad_requests()


@pytest.fixture(scope="module")
def server(signflow_archive: Path) -> Iterator[Server]:
    with running([signflow_archive], PREDICTS) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    with httpx.Client(base_url=server.url, timeout=60, limits=limits) as client:
        yield client


def send(client: httpx.Client, one: int | str) -> httpx.Response:
    """Send a good sequence of `one` frames, or the bad request of that name."""
    if isinstance(one, int):
        body, headers = npy(frames_of(one, seed=one)), {"Content-Type": NPY}
    else:
        body, headers = BAD[one].body, BAD[one].headers
    return client.post("/predictions/signflow", content=body, headers=headers)


def test_an_answer_carries_label_probability_model_version_id_and_time(client: httpx.Client) -> None:
    answer = client.post(
        "/predictions/signflow",
        json={"frames": frames_of(64).tolist(), "top_k": 3, "session": "s"},
        headers={"X-Request-Id": "mine-1"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-request-id"] == "mine-1" and answer.headers["x-model-version"] == "1.0"
    body = answer.json()
    assert (body["model"], body["version"], body["request_id"], body["session"]) == ("signflow", "1.0", "mine-1", "s")
    assert len(body["predictions"]) == 3 and set(body["predictions"][0]) == {"label", "probability"}
    assert body["serving_ms"] > 0


def test_top_k_and_explanations_reach_the_handler(client: httpx.Client) -> None:
    headers = {"Content-Type": NPY, "X-Top-K": "2"}
    answer = client.post("/explanations/signflow/1.0", content=npy(frames_of(20)), headers=headers)
    assert len(answer.json()["predictions"]) == 2
    assert "left_hand" in answer.json()["explanations"]["attributions"]


def test_the_archives_own_example_is_answered(client: httpx.Client, signflow_archive: Path) -> None:
    body = members_of(signflow_archive)["example.json"]
    assert client.post("/predictions/signflow", content=body, headers={"Content-Type": JSON}).status_code == 200


@pytest.mark.parametrize("called", ["", "application/x-www-form-urlencoded"])
def test_json_under_no_name_or_a_forms_is_answered(client: httpx.Client, called: str) -> None:
    body = json.dumps({"frames": frames_of(9).tolist()}).encode()
    headers = {"Content-Type": called} if called else {}
    assert client.post("/predictions/signflow", content=body, headers=headers).status_code == 200
    refused = client.post("/predictions/signflow", content=npy(frames_of(9)), headers=headers)
    assert refused.status_code == 415
    assert "send Content-Type: application/json or application/x-npy" in refused.json()["error"]["message"]


def test_every_kind_of_bad_input_has_its_status_and_kills_nobody(server: Server, client: httpx.Client) -> None:
    while len(workers := server.worker_pids("signflow")) < 2:  # ready is one; the other may still be loading
        time.sleep(0.2)
    assert len(BAD) + 4 >= 40
    wrong = {}
    for name, bad in BAD.items():
        answer = send(client, name)
        error = answer.json().get("error", {})
        if answer.status_code != bad.status or not error.get("message") or not error.get("request_id"):
            wrong[name] = (answer.status_code, answer.text[:300])
    assert wrong == {}
    beyond = {
        "a 50 MB body": (client.post("/predictions/signflow", content=b"x" * 50_000_000), 413),
        "an unknown model": (client.post("/predictions/nobody", content=b"{}"), 404),
        "an unknown version": (client.post("/predictions/signflow/9.9", content=b"{}"), 404),
        "a GET": (client.get("/predictions/signflow"), 405),
    }
    for name, (answer, status) in beyond.items():
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["error"]["message"], name
    assert send(client, 30).status_code == 200
    assert server.worker_pids("signflow") == workers


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.integers(1, 200), st.sampled_from(sorted(BAD))), min_size=8, max_size=40))
def test_good_requests_answer_as_alone_whatever_flies_beside_them(client: httpx.Client, mix: list[int | str]) -> None:
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda one: send(client, one), mix))
    for one, answer in zip(mix, together, strict=True):
        if isinstance(one, str):
            assert answer.status_code == BAD[one].status, (one, answer.text)
            if BAD[one].status == 422:
                error = answer.json()["error"]
                assert error["field"].startswith(BAD[one].field) and error["expected"] and error["received"]
            continue
        assert answer.status_code == 200, answer.text
        alone = send(client, one).json()["predictions"]
        for mine, single in zip(answer.json()["predictions"], alone, strict=True):
            assert mine["label"] == single["label"]
            assert mine["probability"] == pytest.approx(single["probability"], abs=1e-6)


def test_a_forged_archive_refuses_says_why_and_others_keep_serving(signflow_archive: Path, tmp_path: Path) -> None:
    changes = renamed(signflow_archive, "signflow", "2.0")
    changes["model.onnx"] = with_moved_weight(signflow_archive, 0.01)
    altered = recertified(signflow_archive, tmp_path / "signflow-2.0.mar", changes)
    with running([signflow_archive, altered], PREDICTS, wait=False) as server:
        deadline = time.monotonic() + 180
        while "refuses to serve" not in server.output.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        said = server.output.read_text()
        assert "signflow 2.0 refuses to serve" in said, said
        assert "does not answer as certified" in said, said
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while client.post("/predictions/signflow/1.0", json={}).status_code == 503 and time.monotonic() < deadline:
                time.sleep(0.2)
            headers = {"Content-Type": NPY}
            refused = client.post("/predictions/signflow/2.0", content=npy(frames_of(9)), headers=headers)
            while refused.json()["error"]["code"] == "not_ready" and time.monotonic() < deadline:  # the gateway reloads
                time.sleep(0.1)
                refused = client.post("/predictions/signflow/2.0", content=npy(frames_of(9)), headers=headers)
            assert refused.json()["error"]["code"] == "model_refused", refused.text
            for _ in range(20):
                assert (
                    client.post("/predictions/signflow", content=npy(frames_of(9)), headers=headers).status_code == 200
                )


@pytest.mark.slow
def test_memory_does_not_grow_with_requests(server: Server, record_property: Any) -> None:
    # Without the largest bad bodies: they would only take time.
    bad = [one for one in BAD.values() if len(one.body) < 20_000 and one.status in (400, 415, 422)]
    good = [request(server, npy(frames_of(length)), {"Content-Type": NPY}) for length in (8, 16, 32) * 40]
    mixed = good + [request(server, one.body, one.headers) for one in bad]
    random.Random(0).shuffle(mixed)

    def ask(count: int) -> None:
        answered = 0
        while answered < count:
            latencies, _, _ = asyncio.run(drive(server.url, mixed, connections=16, seconds=2))
            answered += len(latencies)

    def resident() -> dict[int, int]:
        return {pid: psutil.Process(pid).memory_info().rss for pid in server.worker_pids("signflow")}

    ask(3_000)  # arenas and caches fill
    before = resident()
    ask(20_000)
    after = resident()
    assert set(after) == set(before), "a worker was replaced"
    record_property("rss_mib", json.dumps({pid: [before[pid] >> 20, after[pid] >> 20] for pid in before}))
    for pid in before:
        assert after[pid] <= before[pid] * 1.05, f"worker {pid} grew from {before[pid] >> 20} to {after[pid] >> 20} MiB"


def request(server: Server, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a prediction request as it goes over the wire."""
    lines = ["POST /predictions/signflow HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body

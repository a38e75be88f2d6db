import json
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from marina.database.connection import Database
from marina.database.tables import EARLY_LABELS
from marina.processes.cpu import usable_cores
from marina.serving.programs import MissingProgramError, find_nginx
from marina.settings import Settings
from tests.serving import Server, archive, running


def error_of(answer: httpx.Response) -> dict[str, str]:
    """Check that an answer is a gateway error in the one shape they all have."""
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


def test_an_unversioned_request_gets_a_version_and_says_which(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo", json={})
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == answer.json()["version"]
    assert answer.json()["version"] in ("1.0", "2.0")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("verb", ["predictions", "explanations"])
def test_a_version_that_is_asked_for_answers(server: Server, verb: str, version: str) -> None:
    answer = httpx.post(f"{server.url}/{verb}/echo/{version}", json={})
    assert (answer.status_code, answer.json()["version"]) == (200, version)
    assert answer.headers["x-model-version"] == version


@pytest.mark.parametrize("header", ["X-Session-Id", "X-User-Id"])
def test_a_session_or_user_stays_on_one_version(server: Server, header: str) -> None:
    with httpx.Client(base_url=server.url) as client:
        for key in map(str, range(12)):
            versions = {
                client.post("/predictions/echo", json={}, headers={header: key}).json()["version"] for _ in "123"
            }
            assert len(versions) == 1


def test_the_clients_request_id_reaches_the_handler_and_comes_back(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo", json={}, headers={"x-request-id": "order-66:a.b_c"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "order-66:a.b_c"


@pytest.mark.parametrize("bad", ["", "has space", 'quo"te', "x" * 129, "new\tline"])
def test_an_unusable_request_id_is_replaced(server: Server, bad: str) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo", json={}, headers={"X-Request-Id": bad})
    assert re.fullmatch(r"\d{10}\.\d{3}-[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("APPLICATION/X-NPY ;a=b", "application/x-npy"),
        (None, "application/json"),
        ("application/x-www-form-urlencoded", "application/json"),
        ("Application/X-WWW-Form-URLencoded; charset=UTF-8", "application/json"),
    ],
)
def test_a_handler_meets_two_content_types_in_one_spelling(server: Server, sent: str | None, passed_on: str) -> None:
    headers = {"Content-Type": sent} if sent else {}
    answer = httpx.post(f"{server.url}/predictions/echo", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["content_type"]) == (200, passed_on)


@pytest.mark.parametrize(
    "sent",
    [
        "multipart/form-data; boundary=b",
        "Multipart/Form-Data;boundary=b",
        "multipart/mixed; boundary=b",
        "text/plain",
        "application/octet-stream",
        "application/jsonp",
        "application/json, multipart/form-data; boundary=b",
        "multipart/form-data; boundary=b; application/json",
        "application/x-www-form-urlencoded2",
        ";",
    ],
)
def test_other_content_types_reach_no_handler(server: Server, sent: str) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo", content=b"{}", headers={"Content-Type": sent})
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_content_type")


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"]
)
def test_a_large_form_harms_nobody(server: Server, content_type: str) -> None:
    body = b"a=&" * 2_796_202  # 8 MB
    with ThreadPoolExecutor(5) as pool:
        headers = {"Content-Type": content_type}
        large = pool.submit(httpx.post, f"{server.url}/predictions/echo/1.0", content=body, headers=headers, timeout=60)
        began, beside = time.monotonic(), []
        while not large.done() or time.monotonic() - began < 1:
            asked = [pool.submit(httpx.post, f"{server.url}/predictions/echo/2.0", json={}) for _ in range(4)]
            beside += [one.result().status_code for one in asked]
    assert large.result().status_code in (200, 415)
    assert set(beside) == {200}
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("status", [400, 415, 422])
def test_a_handlers_refusal_passes_through_untouched(server: Server, status: int) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo/1.0", json={"status": status})
    assert answer.status_code == status
    assert answer.json()["batch"] == 1  # the handler's own body


def test_a_handlers_fault_becomes_500_with_the_request_id(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo/1.0", json={"status": 590}, headers={"X-Request-Id": "q1"})
    assert answer.status_code == 500
    assert (error_of(answer)["code"], error_of(answer)["request_id"]) == ("handler_fault", "q1")


def test_a_handler_that_raises_is_no_full_queue(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo/1.0", json={"raise": "bug"})
    assert (answer.status_code, error_of(answer)["code"]) == (500, "handler_fault")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/predictions/nobody", {}, 404, "unknown_model"),
        ("POST", "/predictions/echo/9.9", {}, 404, "unknown_model"),
        ("POST", "/predictions/ECHO", {}, 404, "unknown_model"),
        ("POST", "/predictions/echo/1.0/extra", {}, 404, "no_such_path"),
        ("POST", "/predictions/echo%00", {}, 404, "no_such_path"),
        ("POST", "/predictions/echo/..%2f..%2fmodels", {}, 404, "no_such_path"),
        ("GET", "/", {}, 404, "no_such_path"),
        ("GET", "/models", {}, 404, "no_such_path"),
        ("GET", "/metrics", {}, 404, "no_such_path"),
        ("GET", "/predictions/echo", {}, 405, "method_not_allowed"),
        ("DELETE", "/predictions/echo", {}, 405, "method_not_allowed"),
        ("POST", "/predictions/echo", {"Content-Encoding": "gzip"}, 415, "content_encoding"),
        ("POST", "/predictions/echo", {"X-Long": "x" * 9000}, 431, "head_too_large"),
        ("POST", "/predictions/" + "e" * 9000, {}, 431, "head_too_large"),
    ],
)
def test_what_is_not_served_is_refused_in_json(
    server: Server, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = httpx.request(method, server.url + path, headers=headers, content=b"{}" if method == "POST" else None)
    if b"%00" in answer.request.url.raw_path:  # nginx refuses a zero byte before it looks for a place
        assert answer.status_code == 400
        return
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


def test_a_version_that_is_not_there_is_no_version(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo/3.0", json={})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_model")
    assert "x-model-version" not in answer.headers


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(server: Server, chunked: bool) -> None:
    body = b"x" * (8 * 1024 * 1024 + 1)
    content = (body[start : start + 65536] for start in range(0, len(body), 65536)) if chunked else body
    answer = httpx.post(f"{server.url}/predictions/echo", content=content)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "too_large")


def test_a_body_of_exactly_the_limit_is_served(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predictions/echo", content=b"x" * (8 * 1024 * 1024))
    assert (answer.status_code, answer.json()["bytes"]) == (200, 8 * 1024 * 1024)


@pytest.mark.parametrize(
    "head", ["GARBAGE\r\n\r\n", "POST /predictions/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n"]
)
def test_malformed_http_is_400_in_json(server: Server, head: str) -> None:
    answer = exchange(server, head.encode())
    assert b" 400 " in answer.splitlines()[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"


def test_a_client_that_stops_in_the_middle_of_its_body_is_let_go(server: Server) -> None:
    began = time.monotonic()
    head = (
        b"POST /predictions/echo HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: slow-one\r\nContent-Length: 99\r\n\r\n{"
    )
    assert exchange(server, head) == b""  # nginx cannot answer in the middle of a body: it closes, and logs 408
    assert time.monotonic() - began < 60
    assert line_of(server, "slow-one")["status"] == 408


def exchange(server: Server, request: bytes) -> bytes:
    """Send bytes as they are; return everything until the server closes."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def line_of(server: Server, request_id: str) -> Any:
    """Find a request's access line; nginx writes them once a second."""
    for _ in range(100):
        for line in (server.log_dir / "access.jsonl").read_text().splitlines():
            if f'"id":"{request_id}"' in line:
                return json.loads(line)
        time.sleep(0.1)
    raise AssertionError(f"no access line for {request_id}")


def test_each_request_leaves_one_json_line(server: Server) -> None:
    for wish in ({}, {"status": 422}):
        httpx.post(f"{server.url}/predictions/echo/2.0", json=wish, headers={"X-Request-Id": f"line-{len(wish)}"})
    good, bad = line_of(server, "line-0"), line_of(server, "line-1")
    assert {name: good[name] for name in ("model", "version", "status", "attempts")} == {
        "model": "echo",
        "version": "2.0",
        "status": 200,
        "attempts": 1,
    }
    assert 0 <= float(str(good["seconds"])) < 60
    assert bad["status"] == 422


def test_a_full_queue_is_429_with_retry_after(server: Server) -> None:
    def ask(_: int) -> httpx.Response:
        return httpx.post(f"{server.url}/predictions/echo/1.0", json={"sleep_s": 2}, timeout=60)

    with ThreadPoolExecutor(40) as pool:  # at least 1 runs and 8 wait
        answers = list(pool.map(ask, range(40)))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 9
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert error_of(refused)["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1


def test_batches_are_full_under_load_and_of_one_when_idle(server: Server) -> None:
    def ask(sleep_s: float) -> int:
        wish = {"sleep_s": sleep_s}
        return int(httpx.post(f"{server.url}/predictions/echo/2.0", json=wish, timeout=60).json()["batch"])

    largest = 0
    for _ in range(5):  # on a busy machine the eight may not all arrive while the worker is held up
        with ThreadPoolExecutor(9) as pool:
            held = pool.submit(ask, 1.5)
            time.sleep(0.3)
            largest = max(largest, *pool.map(ask, [0.0] * 8))
            assert held.result() == 1
        if largest == 8:
            break
    assert largest == 8
    assert [ask(0.0) for _ in range(3)] == [1, 1, 1]


def test_workers_and_threads_do_not_exceed_the_cores_and_see_no_secret(server: Server) -> None:
    seen = httpx.post(f"{server.url}/predictions/echo", json={}).json()
    assert int(seen["threads"]) == max(1, usable_cores() // 2)  # of each version one worker
    assert seen["secrets"] == []


def test_ping_says_that_every_declared_version_is_ready(server: Server) -> None:
    answer = httpx.get(f"{server.url}/ping")
    assert (answer.status_code, answer.json()["status"]) == (200, "Healthy")
    assert answer.json()["models"] == {"echo": {"1.0": "ready", "2.0": "ready"}}
    assert httpx.get(f"{server.url}/ping/echo").json()["versions"] == {"1.0": "ready", "2.0": "ready"}


@pytest.mark.parametrize("path", ["/models", "/workflows", "/metrics", "/wfpredict/x", "/"])
@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong-token-0", "Basic YTpi", "Bearer A-MANAGEMENT-TOKEN-FOR-TESTS"]
)
def test_management_without_its_token_is_401(server: Server, path: str, authorization: str | None) -> None:
    answer = httpx.get(server.management_url + path, headers={"Authorization": authorization} if authorization else {})
    assert (answer.status_code, error_of(answer)["code"]) == (401, "unauthorized")


def test_management_with_its_token_is_torchserves(server: Server) -> None:
    answer = httpx.get(f"{server.management_url}/models/echo/all", headers=server.authorization)
    assert [one["modelVersion"] for one in answer.json()] == ["1.0", "2.0"]
    assert {(one["batchSize"], one["maxBatchDelay"]) for one in answer.json()} == {(8, 0)}


@pytest.mark.parametrize(
    "path", ["/workflows", "/Workflows?url=x", "/wfpredict/x", "/%77orkflows", "/models/../workflows"]
)
def test_workflows_are_refused_however_they_are_spelled(server: Server, path: str) -> None:
    host, _, port = server.management_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\nContent-Length: 0\r\n"
        )
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 403 " in answer.splitlines()[0]
    assert b"workflows_refused" in answer


@pytest.mark.parametrize("query", ["url=/etc", "url=file:///x.mar", "url=http:%2f%2fevil%2fx.mar", "%75rl=..%5cx"])
def test_registration_by_path_or_address_is_refused(server: Server, query: str) -> None:
    answer = httpx.post(f"{server.management_url}/models?{query}", headers=server.authorization)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "bad_query")


def test_metrics_are_on_their_own_port(server: Server) -> None:
    httpx.post(f"{server.url}/predictions/echo/1.0", json={})
    assert (
        'ts_inference_requests_total{model_name="echo",model_version="1.0"'
        in httpx.get(f"{server.metrics_url}/metrics").text
    )


def test_a_label_is_kept_with_where_it_came_from(server: Server) -> None:
    for _ in range(300):
        answer = httpx.post(f"{server.url}/feedback", json={"request_id": "never-asked", "label": "cat"})
        if answer.status_code != 503:  # the sidecar that takes labels is up
            break
        time.sleep(0.1)
    assert answer.json()["outcomes"] == ["early"], answer.text
    database = Database(f"sqlite:///{server.state_dir}/marina.db")
    with database.reading() as connection:
        assert connection.execute(sa.select(EARLY_LABELS.c.source)).scalars().all() == ["127.0.0.1"]
    database.close()


def test_inference_tokens_and_rate_limits_hold_when_set(tmp_path: Path) -> None:
    tokens = '["client-token-of-1","client-token-of-2"]'
    odd = str(tmp_path / "Mine, $ 'and' \"yours\" ä")  # a state folder may be called anything
    limits: dict[str, str | int | float] = {
        "inference_tokens": tokens,
        "rate_limit_per_s": 1,
        "rate_limit_burst": 3,
        "state_dir": odd,
    }
    with running([archive(tmp_path)], limits) as server, httpx.Client(base_url=server.url) as client:
        assert error_of(client.post("/predictions/echo", json={}))["code"] == "unauthorized"
        assert client.post("/nothing").status_code == 401  # not even the names of the models
        for wrong in ("Bearer client-token-of-3", "Bearer CLIENT-TOKEN-OF-1", "client-token-of-1"):
            assert client.post("/predictions/echo", json={}, headers={"Authorization": wrong}).status_code == 401
        first, second = ({"Authorization": f"Bearer client-token-of-{number}"} for number in (1, 2))
        answers = [client.post("/predictions/echo", json={}, headers=first) for _ in range(12)]
        assert answers[0].status_code == 200
        limited = [answer for answer in answers if answer.status_code == 429]
        assert error_of(limited[0])["code"] == "rate_limited"
        assert "retry-after" in limited[0].headers
        assert client.post("/predictions/echo", json={}, headers=second).status_code == 200  # its own budget


def test_a_token_that_could_break_the_configuration_is_refused() -> None:
    with pytest.raises(ValidationError, match="bearer token"):
        Settings.model_validate({"inference_tokens": ['a";return 200;#']})


@pytest.mark.parametrize("words", ["nginx version: nginx/1.14.2", "not found", ""])
def test_an_nginx_that_nobody_mends_is_refused(tmp_path: Path, words: str) -> None:
    program = tmp_path / "nginx"
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\n")
    program.chmod(0o700)
    with pytest.raises(MissingProgramError, match=r"needs 1\.18\.0 or newer"):
        find_nginx(Settings.model_validate({"nginx": str(program)}))

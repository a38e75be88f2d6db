"""Answers in part: what the gateway passes on, whom it asks of them, and what its lines tell of a version."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.marina.serving.front import Front, front
from tests.marina.serving.test_attempts import ask, evidence

REFUSED = {"X-Refused-Instances": "3"}
FAILED = {"X-Failed-Instances": "1"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Split sums between 1.0, stable, and 2.0, the canary that gets all; shares are all of 1.0's."""
    with front(tmp_path_factory.mktemp("front")) as made:
        for version in ("1.0", "2.0"):
            made.routes.open("sums", version)
        made.routes.set_stand_in("sums", "2.0", "1.0")
        made.routes.share("sums", [("2.0", 1)])
        made.routes.open("shares", "1.0")
        made.routes.share("shares", [("1.0", 1)])
        yield made


def test_the_header_that_asks_for_the_others_is_passed_on(gateway: Front) -> None:
    sent = {"X-Partial": "true", "X-Stand-In": "spoofed"}
    told = gateway.client.post("/predictions/echo", json={}, headers=sent).json()["headers"]
    assert told["X-Partial"] == "true" and "X-Stand-In" not in told


def test_a_canary_is_told_who_stands_in_for_it_and_stable_that_nobody_does(gateway: Front) -> None:
    told = ask(gateway, "/predictions/sums", "whole", v2=[200]).json()["headers"]
    assert told["X-Stand-In"] == "1.0"
    told = ask(gateway, "/predictions/sums", "left", v2=[422], v1=[200]).json()["headers"]
    assert "X-Stand-In" not in told
    assert "X-Stand-In" not in ask(gateway, "/predictions/sums/2.0", "by path", v2=[200]).json()["headers"]
    assert "X-Stand-In" not in ask(gateway, "/predictions/shares", "alone", v1=[200]).json()["headers"]


@pytest.mark.parametrize(
    ("name", "path", "wishes", "told"),
    [
        ("refused of stable alone", "shares", {"v1": [REFUSED]}, []),
        ("failed of stable alone", "shares", {"v1": [FAILED]}, [("1.0", True, False)]),
        ("both of stable alone", "shares", {"v1": [FAILED | REFUSED]}, [("1.0", True, False)]),
        ("neither", "shares", {"v1": [200]}, [("1.0", False, False)]),
        ("refused by both", "sums", {"v2": [422], "v1": [REFUSED]}, []),
        ("unreadable, refused", "sums", {"v2": [592], "v1": [REFUSED]}, []),
        ("refused by the canary alone", "sums", {"v2": [422], "v1": [200]}, [("2.0", True, False)]),
        ("failed by both", "sums", {"v2": [590], "v1": [FAILED]}, [("2.0", True, True)]),
        ("failed by the canary alone", "sums", {"v2": [590], "v1": [REFUSED]}, [("2.0", True, False)]),
    ],
)
def test_a_clients_bad_instance_is_nobodys_fault_and_one_that_failed_is_its_versions(
    gateway: Front, name: str, path: str, wishes: dict[str, Any], told: list[tuple[str, bool, bool]]
) -> None:
    request_id = name.replace(" ", "-").replace(",", "")
    answer = ask(gateway, f"/predictions/{path}", request_id, **wishes)
    assert answer.status_code == 200
    assert not {"x-refused-instances", "x-failed-instances"} & set(answer.headers)
    assert evidence(gateway.line(request_id)) == told


@pytest.mark.parametrize("body", [b"a=1%", b"a=20%", b"a=%G1", b"&&&", b'{"a": "20%"}'])
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=x", None]
)
def test_what_comes_as_a_form_reaches_the_handler_as_it_is_and_as_nothing_that_is_taken_apart(
    gateway: Front, body: bytes, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    told = gateway.client.post("/predictions/echo", content=body, headers=headers).json()
    assert told["headers"]["Content-Type"] == "application/json" and told["bytes"] == len(body)
    assert told["headers"]["X-Sent-Type"] == ("application/x-www-form-urlencoded" if content_type else "none")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data; boundary=a", "multipart/mixed", "text/plain", "application/octet-stream",
     "application/json5", "application/x-www-form-urlencoded-not", "text/json, application/json", "application/ndjson"],
)  # fmt: skip
def test_no_other_type_reaches_what_is_behind(gateway: Front, content_type: str) -> None:
    headers = {"Content-Type": content_type, "X-Request-Id": "none-of-these"}
    answer = gateway.client.post("/predictions/echo", content=b"--a\r\n\r\n--a--", headers=headers)
    assert answer.status_code == 415
    assert json.loads(answer.content)["error"]["code"] == "unsupported_content_type"
    assert not gateway.asked["none-of-these", "1.0"]


def test_forty_bad_bodies_of_a_client_say_nothing_of_the_canary_it_is_bound_to(gateway: Front) -> None:
    bodies = (b"a=1%", b"20%", b"a=%G1", b"&&&")
    for number in range(40):
        request_id = f"bound-{number}"
        headers = {"X-Session-Id": "one", "X-Request-Id": request_id, "X-TTA": '{"2.0": [415], "1.0": [415]}'}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = gateway.client.post("/predictions/sums", content=bodies[number % 4], headers=headers)
        assert answer.status_code == 415
    assert [one for number in range(40) for one in evidence(gateway.line(f"bound-{number}"))] == []

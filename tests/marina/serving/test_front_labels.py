"""How labels come in through the gateway: as what, from whom, and how many at once."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.marina.serving.front import CLIENT, JSON, LABELLER, LABELS, OTHER, Front, bearer, front
from tests.marina.serving.test_gateway import error_of


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_labels_are_json(gateway: Front, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = gateway.client.post("/feedback", content=b"{}", headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_content_type")


@pytest.mark.parametrize(("status", "again"), [(429, ["10"]), (503, ["2"]), (200, [])])
def test_when_to_send_labels_again_is_said_once_and_by_who_takes_them(
    gateway: Front, status: int, again: list[str]
) -> None:
    answer = gateway.client.post("/feedback", json={"wish": status})
    assert (answer.status_code, answer.headers.get_list("retry-after")) == (status, again)


def test_labels_come_in_two_mebibytes_at_most(gateway: Front) -> None:
    for size, status in ((2 * 2**20, 200), (2 * 2**20 + 1, 413)):
        for content in (b"x" * size, iter([b"x" * size])):
            answer = gateway.client.post("/feedback", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == status
    assert error_of(answer)["code"] == "too_large" and "2 MiB" in error_of(answer)["message"]


def test_few_large_requests_with_labels_are_on_their_way_and_of_one_client_fewer(tmp_path: Path) -> None:
    tokens = ["a-token-of-a-labeller", "a-token-of-another"]
    large = b"x" * 100_000
    with front(tmp_path, feedback_tokens=tokens) as gateway, contextlib.ExitStack() as held:

        def status(token: str, content: bytes) -> int:
            answer = gateway.client.post("/feedback", content=content, headers={**bearer(token), **JSON})
            if answer.status_code == 429:
                assert (error_of(answer)["code"], answer.headers["retry-after"]) == ("too_many_labels", "1")
            return answer.status_code

        for token, at_once in zip(tokens, (25, 7), strict=True):
            assert status(token, large) == 200
            for _ in range(at_once):
                connection = held.enter_context(
                    socket.create_connection(("127.0.0.1", gateway.settings.inference_port))
                )
                head = f"{LABELS.decode()}Authorization: Bearer {token}\r\nContent-Length: 2000000\r\n\r\n"
                connection.sendall(head.encode() + large)
            time.sleep(0.3)
            assert (status(token, large), status(token, b"{}")) == (429, 200)
        assert not (gateway.run_dir / "refused.log").read_bytes()


def source(gateway: Front, headers: dict[str, str]) -> Any:
    answer = gateway.client.post("/feedback", json={}, headers={**headers, "X-Source": "spoofed"})
    return answer.json()["headers"]["X-Source"] if answer.is_success else answer.status_code


def test_labels_come_from_a_token_of_their_own_else_a_clients_else_an_address(
    tmp_path: Path, gateway: Front, guarded: Front
) -> None:
    named = {"Host": "api.example.org"}
    assert source(gateway, {}) == "127.0.0.1"
    assert source(guarded, {**named, **bearer(LABELLER)}) == "feedback-1"
    assert source(guarded, {**named, **bearer(OTHER)}) == source(guarded, named) == 401
    answer = guarded.client.post("/predictions/echo", json={}, headers={**named, **bearer(LABELLER)})
    assert answer.status_code == 401
    with front(tmp_path, inference_tokens=[CLIENT, OTHER]) as third:
        assert (source(third, bearer(OTHER)), source(third, {})) == ("client-2", 401)

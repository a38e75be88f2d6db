"""How often, how long and of whom a request is asked, by real nginx before workers that do as they are told."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from marina.events.access_log import read_requests
from marina.serving.gateway import LEFT_STEPS, time_left
from tests.marina.serving.front import RAISED, Front, front

LIMIT_S = 2.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Split sums between 1.0, stable, and 2.0, the canary that gets all; echo 1.0 is alone."""
    with front(tmp_path_factory.mktemp("front"), request_timeout_s=LIMIT_S) as made:
        for version in ("1.0", "2.0"):
            made.routes.open("sums", version)
        made.routes.set_stand_in("sums", "2.0", "1.0")
        made.routes.share("sums", [("2.0", 1)])
        yield made


def ask(gateway: Front, path: str, request_id: str, **wishes: list[Any]) -> httpx.Response:
    """Ask, with wishes by version: ``v1`` and ``v2``."""
    wanted = {f"{name[1:]}.0": wish for name, wish in wishes.items()}
    headers = {"X-Request-Id": request_id, "X-TTA": json.dumps(wanted), "Content-Type": "application/json"}
    return gateway.client.post(path, content=b"{}", headers=headers)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def evidence(line: dict[str, Any]) -> list[tuple[str, bool, bool]]:
    """Return what a line tells of a version: which, whether it failed, and whether stable did as well."""
    requests, malformed = read_requests([json.dumps(line).encode()])
    assert malformed == 0
    return [(one.version, one.failed, one.shared) for one in requests]


@pytest.mark.parametrize("limit_s", [1, 2, 15, 60, 61, 600])
def test_what_is_left_of_a_time_limit_is_never_told_as_more(limit_s: float) -> None:
    left = time_left(limit_s)
    assert left[0][1] == LEFT_STEPS - 1
    for elapsed, steps in left:
        latest = float(elapsed) + (0.1 if limit_s <= 60 else 1.0)
        assert latest + limit_s * steps / LEFT_STEPS <= limit_s * 1.0001


@pytest.mark.parametrize("dead", [500, 507])
def test_what_a_dead_worker_leaves_is_asked_again(gateway: Front, dead: int) -> None:
    answer = ask(gateway, "/predictions/echo", f"once-{dead}", v1=[dead, 200])
    assert answer.status_code == 200
    assert gateway.line(f"once-{dead}")["attempts"] == 2


def test_a_request_that_kills_every_worker_is_asked_three_times(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/echo", "poison", v1=[507])
    assert (answer.status_code, code(answer)) == (500, "worker_died")
    assert gateway.asked["poison", "1.0"] == 3


@pytest.mark.parametrize("attempts", [[200], [507, 200], [429], [507, 429], [590], [507, RAISED]])
def test_what_the_gateway_adds_goes_out_once(gateway: Front, attempts: list[int]) -> None:
    answer = ask(gateway, "/predictions/echo", "headers-" + "-".join(map(str, attempts)), v1=attempts)
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("retry-after") == (["10"] if attempts[-1] == 429 else [])
    assert len(answer.headers.get_list("x-request-id")) == len(answer.headers.get_list("x-model-version")) == 1


def test_what_waits_is_not_asked_again_and_may_take_the_whole_time_limit(gateway: Front) -> None:
    assert ask(gateway, "/predictions/echo", "slow", v1=[[LIMIT_S * 0.9, 200]]).status_code == 200
    assert gateway.asked["slow", "1.0"] == 1


def test_the_last_attempt_gets_what_is_left_and_the_words_are_true(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/echo", "late", v1=[[1.0, 507], [5, 200]])
    assert (answer.status_code, code(answer)) == (504, "deadline")
    assert gateway.asked["late", "1.0"] == 2
    took_s = float(answer.json()["error"]["message"].partition(" after ")[2].split()[0])
    assert 1.4 < took_s <= LIMIT_S
    assert took_s == pytest.approx(answer.elapsed.total_seconds(), abs=0.3)


def test_a_line_says_how_long_each_attempt_took_also_that_which_had_no_answer(gateway: Front) -> None:
    ask(gateway, "/predictions/echo", "waited", v1=[[0.5, 507], [0.2, 200]])
    ask(gateway, "/predictions/echo", "in-vain", v1=[[5, 200]])
    first, second = (float(one) for one in gateway.line("waited")["served"].split(" : "))
    assert 0.4 < first < 0.9 and 0.1 < second < 0.6
    assert float(gateway.line("in-vain")["served"]) >= LIMIT_S - 0.1


@pytest.mark.parametrize(("expired", "counted"), [("crowded", 0), ("1", 1)])
def test_an_answer_that_found_no_room_is_no_error_and_one_that_came_too_late_is(
    gateway: Front, expired: str, counted: int
) -> None:
    assert ask(gateway, "/predictions/echo", f"expired-{expired}", v1=[expired]).status_code == 503
    assert evidence(gateway.line(f"expired-{expired}")) == [("1.0", True, False)] * counted


def test_a_worker_learns_when_the_request_was_complete_whichever_attempt_it_is(gateway: Front) -> None:
    before = time.time()
    answer = ask(gateway, "/predictions/echo", "received", v1=[[0.5, 507], 200])
    assert before - 0.1 <= float(answer.json()["headers"]["X-Received"]) < before + 0.4


def test_a_worker_that_dies_of_everything_does_not_triple_the_load(gateway: Front) -> None:
    gateway.routes.limit("echo", "1.0", 8)  # of which four may be retries at first
    for number in range(30):
        assert code(ask(gateway, "/predictions/echo", f"dies-{number}", v1=[507])) == "worker_died"
    gateway.routes.limit("echo", "1.0", 1024)
    asked = sum(count for (request_id, _), count in gateway.asked.items() if request_id.startswith("dies-"))
    assert 30 + 4 <= asked <= 30 + 4 + 10


@pytest.mark.parametrize(
    "failure",
    [[590], [592], [507], [RAISED], [[5, 200]], [500, 507, 590], [400], [415], [422], [507, 422], [500, 507, 400]],
)
def test_stable_answers_what_the_canary_fails_or_refuses(gateway: Front, failure: list[Any]) -> None:
    ident = f"stood-in-{failure}".translate(str.maketrans("[], ", "...."))
    answer = ask(gateway, "/predictions/sums", ident, v2=failure)
    assert answer.status_code == 200
    assert answer.json()["path"] == "/predictions/sums/1.0"
    assert answer.headers["x-model-version"] == "1.0"
    assert answer.elapsed.total_seconds() < LIMIT_S
    assert gateway.asked[ident, "1.0"] == 1
    line = gateway.line(ident)
    assert (line["version"], line["stood_in"], line["status"], line["picked"]) == ("2.0", "1.0", 200, "1")
    assert evidence(line) == [("2.0", True, False)]


@pytest.mark.parametrize(("of_canary", "of_stable"), [([400], 422), ([422], 422), ([415], 400), ([507, 422], 415)])
def test_what_stable_refuses_too_is_the_clients_fault_in_stables_words(
    gateway: Front, of_canary: list[Any], of_stable: int
) -> None:
    ident = f"refused-{of_canary[-1]}-{of_stable}"
    answer = ask(gateway, "/predictions/sums", ident, v2=of_canary, v1=[of_stable])
    assert (answer.status_code, answer.json()["path"]) == (of_stable, "/predictions/sums/1.0")
    assert answer.headers["x-model-version"] == "1.0"
    assert evidence(gateway.line(ident)) == []


def test_what_the_canary_refuses_and_stable_fails_is_nobodys_failure(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/sums", "refused-failed", v2=[422], v1=[590])
    assert (answer.status_code, code(answer)) == (422, "unreadable")
    assert evidence(gateway.line("refused-failed")) == []


@pytest.mark.parametrize("status", [400, 415, 422])
def test_the_refusal_of_a_version_that_has_no_stand_in_passes_untouched(gateway: Front, status: int) -> None:
    for path in ("/predictions/sums/2.0", "/predictions/echo/1.0", "/predictions/echo"):
        ident = f"{path.replace('/', '.')}-{status}"
        answer = ask(gateway, path, ident, v1=[status], v2=[status])
        assert (answer.status_code, answer.headers["x-behind"]) == (status, "1")
        assert answer.json()["path"].startswith(path)
        assert sum(gateway.asked[ident, version] for version in ("1.0", "2.0")) == 1


def test_a_body_that_is_no_http_is_asked_of_nobody(gateway: Front) -> None:
    head = b"POST /predictions/sums HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: no-http\r\nConnection: close\r\n"
    answer = gateway.exchange(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nXYZ\r\n\r\n")
    assert answer.split()[1] == b"400" and b'"bad_request"' in answer
    assert gateway.asked["no-http", "2.0"] == gateway.asked["no-http", "1.0"] == 0
    assert evidence(gateway.line("no-http")) == []


def test_explanations_too_have_a_stand_in(gateway: Front) -> None:
    answer = ask(gateway, "/explanations/sums", "explained", v2=[590])
    assert (answer.status_code, answer.json()["path"]) == (200, "/explanations/sums/1.0")


def test_a_version_that_was_asked_for_has_no_stand_in(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/sums/2.0", "explicit", v2=[590])
    assert (answer.status_code, code(answer)) == (500, "handler_fault")
    assert answer.headers["x-model-version"] == "2.0"
    assert gateway.line("explicit")["stood_in"] == ""


def test_what_the_canary_answers_is_nobody_elses(gateway: Front) -> None:
    for status in (200, 409):
        answer = ask(gateway, "/predictions/sums", f"answered-{status}", v2=[status])
        assert (answer.status_code, answer.headers["x-model-version"]) == (status, "2.0")
        assert gateway.asked[f"answered-{status}", "1.0"] == 0
    assert gateway.line("answered-200")["stood_in"] == ""


def test_what_stable_fails_too_is_told_as_the_canarys_failure(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/sums", "both", v2=[590], v1=[507])
    assert (answer.status_code, code(answer)) == (500, "handler_fault")
    assert answer.headers["x-model-version"] == "2.0"
    assert (gateway.line("both")["stood_in"], gateway.asked["both", "1.0"]) == ("1.0", 1)


def test_what_the_canary_fails_and_stable_refuses_is_the_clients_fault(gateway: Front) -> None:
    answer = ask(gateway, "/predictions/sums", "refused", v2=[590], v1=[422])
    assert (answer.status_code, gateway.line("refused")["stood_in"]) == (422, "1.0")
    assert evidence(gateway.line("refused")) == [("2.0", True, True)]


def test_what_no_version_can_read_is_the_clients_fault(gateway: Front) -> None:
    for ident, path, wishes in (
        ("odd-both", "/predictions/sums", {"v2": [592], "v1": [592]}),
        ("odd-alone", "/predictions/echo", {"v1": [592]}),
    ):
        answer = ask(gateway, path, ident, **wishes)
        assert (answer.status_code, code(answer)) == (422, "unreadable")
        assert gateway.line(ident)["status"] == 422
        assert evidence(gateway.line(ident)) == []


def test_a_stable_version_that_is_not_ready_is_not_asked(gateway: Front) -> None:
    gateway.routes.close("sums", "1.0")
    answer = ask(gateway, "/predictions/sums", "alone", v2=[590])
    gateway.routes.open("sums", "1.0")
    assert (answer.status_code, code(answer)) == (500, "handler_fault")
    assert (gateway.line("alone")["stood_in"], gateway.asked["alone", "1.0"]) == ("", 0)


@pytest.mark.parametrize(("status", "told", "counted"), [(590, 500, [("2.0", True, False)]), (422, 422, [])])
def test_a_canary_that_fails_everything_sends_stable_no_more_than_its_budget(
    gateway: Front, status: int, told: int, counted: list[tuple[str, bool, bool]]
) -> None:
    limit = {590: 8, 422: 16}[status]  # each has a budget of its own
    gateway.routes.limit("sums", "2.0", limit)
    idents = [f"budget-{status}-{number}" for number in range(5 * limit)]
    statuses = [ask(gateway, "/predictions/sums", ident, v2=[status]).status_code for ident in idents]
    gateway.routes.limit("sums", "2.0", 1024)
    assert statuses[: limit // 2] == [200] * (limit // 2)
    assert told in statuses
    over = idents[statuses.index(told)]
    assert (gateway.line(over)["stood_in"], gateway.asked[over, "1.0"]) == ("", 0)
    assert evidence(gateway.line(over)) == counted


def test_what_a_killed_worker_of_nginx_had_does_not_count_for_ever(tmp_path: Path) -> None:
    with front(tmp_path, request_timeout_s=10) as gateway:
        gateway.routes.limit("echo", "1.0", 4)
        assert not gateway.nginx.forget_lost()
        with ThreadPoolExecutor(3) as pool:
            held = [pool.submit(ask, gateway, "/predictions/echo", f"held-{number}", v1=[[3, 200]]) for number in "123"]
            time.sleep(0.5)
            assert ask(gateway, "/predictions/echo", "full").status_code == 429
            assert gateway.nginx.process is not None
            psutil.Process(gateway.nginx.process.pid).children()[0].kill()
            assert all(isinstance(one.exception(30), httpx.TransportError) for one in held)
        end = time.monotonic() + 10
        while not gateway.nginx.forget_lost():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.5)
        assert ask(gateway, "/predictions/echo", "free").status_code == 200
        for _ in range(20):
            assert not gateway.nginx.forget_lost()
            time.sleep(0.05)


def test_a_client_that_leaves_goes_on_counting_until_its_work_is_done(gateway: Front) -> None:
    gateway.routes.limit("echo", "1.0", 4)  # of which a client has three
    wish = json.dumps({"1.0": [[1.5, 200]]})
    for number in "123":
        head = f"POST /predictions/echo HTTP/1.1\r\nHost: localhost\r\nX-TTA: {wish}\r\nX-Request-Id: left-{number}\r\n"
        with socket.create_connection(("127.0.0.1", gateway.settings.inference_port)) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            time.sleep(0.1)
    refused = ask(gateway, "/predictions/echo", "full-1")
    assert (refused.status_code, code(refused), refused.headers["retry-after"]) == (429, "queue_full", "1")
    time.sleep(2)
    assert ask(gateway, "/predictions/echo", "free-1").status_code == 200
    gateway.routes.limit("echo", "1.0", 1024)

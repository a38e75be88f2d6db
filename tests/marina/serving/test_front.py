"""What the gateway does by itself, whatever is behind it."""

import json
import signal
import socket
import ssl
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.certificates import self_signed
from tests.marina.serving.front import CLIENT, LABELS, OTHER, POST, TOKEN, Front, bearer, front
from tests.marina.serving.test_gateway import error_of

OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


def refusal_of(answer: bytes) -> tuple[int, str]:
    """Return the status and code of a raw answer, which must be a gateway error in JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower(), answer
    return int(head.split()[1]), json.loads(body)["error"]["code"]


# ---- folders and logs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My Projects", "quo\"te's", "$host", "{a};b#c", "back\\slash", "Gedichte ä ✓"])
def test_folders_may_be_called_anything(tmp_path: Path, name: str) -> None:
    with front(tmp_path / name) as gateway:
        answer = gateway.client.post("/predictions/echo", json={}, headers={"X-Request-Id": "one"})
        assert answer.status_code == 200 and answer.json()["path"] == "/predictions/echo/1.0"
        assert gateway.management.get("/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert gateway.client.get("/ping").status_code == 503
        assert gateway.line("one")["version"] == "1.0"


def test_a_line_says_whose_request_it_was_and_what_the_server_took(gateway: Front) -> None:
    for header in ("X-Session-Id", "X-User-Id"):
        headers = {header.encode(): "käthe".encode(), b"X-Request-Id": f"by-{header}".encode()}
        gateway.client.post("/predictions/echo", json={}, headers=headers)
        assert gateway.line(f"by-{header}")["session"] == "käthe"
    gateway.client.post("/predictions/echo", json={}, headers={"X-Request-Id": "alone"})
    assert gateway.line("alone")["session"] == ""
    assert 0 <= float(gateway.line("alone")["served"]) <= gateway.line("alone")["seconds"] + 0.001
    gateway.client.post("/nowhere", headers={"X-Request-Id": "not-served"})
    assert gateway.line("not-served")["served"] == ""


def test_what_the_server_took_is_without_the_clients_download(gateway: Front) -> None:
    head = b"POST /predictions/echo HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: slow-reader\r\nX-Top-K: 16000000\r\n"
    with socket.create_connection(("127.0.0.1", gateway.settings.inference_port)) as connection:
        connection.sendall(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        time.sleep(1.5)
        assert len(b"".join(iter(lambda: connection.recv(1 << 20), b""))) > 16_000_000
    line = gateway.line("slow-reader")
    assert line["seconds"] > 1.4 and float(line["served"]) < 1


ODD = [b"\xff\xfe", b"a\xc3(", b"\xed\xa0\x80", b"\x1b[31m\x7f\x01", "ä✓𝄞".encode(), b'"\\', b"x" * 7000]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_lines_are_short_and_json_whatever_clients_write(gateway: Front, number: int) -> None:
    ident, quoted = f"odd-{number}", b"".join(b"%%%02x" % byte for byte in ODD[number][:2000])
    for path in (b"/predictions/" + quoted, b"/predictions/echo", b"/models?url=" + quoted):
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: %s\r\nX-Request-Id: %s\r\nContent-Length: 0\r\n"
        request = head % (path, ODD[number], ident.encode()) + b"Connection: close\r\n\r\n"
        gateway.exchange(request)
        gateway.exchange(request, management=True)
    for log in ("access.jsonl", "management.jsonl"):
        gateway.line(ident, log)  # all lines before it were read
        assert max(map(len, (gateway.settings.log_dir / log).read_bytes().splitlines())) < 3000


# ---- refusals are JSON ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "http_version"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405, "method_not_allowed"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400, "bad_request"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "transfer_encoding"),
        (LABELS + b"Transfer-Encoding: chunked\r\n\r\nXYZ\r\n\r\n", 400, "bad_request"),
        (LABELS + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nXYZ\r\n\r\n", 400, "bad_request"),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "bad_request"),
        (POST + b"Content-Length: 999999999\r\n\r\n", 413, "too_large"),
        (b"DELETE" + POST[4:] + b"\r\n", 405, "method_not_allowed"),
        (b"POST /errors/400 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404, "no_such_path"),
        (b"GET /unhealthy.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404, "no_such_path"),
        (b"GET /ping/all/healthy.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404, "no_such_path"),
    ],
)
def test_every_refusal_is_json(gateway: Front, request_: bytes, status: int, code: str) -> None:
    assert refusal_of(gateway.exchange(request_)) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predictions/echo", "POST, PUT"),
        ("DELETE", "/explanations/echo/1.0", "POST, PUT"),
        ("GET", "/feedback", "POST"),
        ("POST", "/ping", "GET, HEAD"),
    ],
)
def test_405_says_what_is_allowed(gateway: Front, method: str, path: str, allowed: str) -> None:
    answer = gateway.client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_no_answer_is_guessed_at_by_a_browser(gateway: Front) -> None:
    answers = [gateway.client.post("/predictions/echo", json={}), gateway.client.get("/"), gateway.client.get("/ping")]
    answers.append(gateway.management.get("/models"))
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert "allow" not in answers[0].headers and "www-authenticate" not in answers[0].headers
    assert answers[-1].headers["www-authenticate"] == "Bearer"


# ---- who asks -------------------------------------------------------------------------------------------------------


def test_a_limit_is_a_clients_however_it_spells_its_token(guarded: Front) -> None:
    statuses = []
    for number in range(40):
        spelled = "".join(c.upper() if number >> place & 1 else c for place, c in enumerate("bearer"))
        headers = {"Authorization": f"{spelled} {CLIENT}", "Host": "api.example.org"}
        statuses.append(guarded.client.post("/predictions/echo", json={}, headers=headers).status_code)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= 9 + 8  # the burst, and one a second
    other = {**bearer(OTHER), "Host": "api.example.org"}
    assert guarded.client.post("/predictions/echo", json={}, headers=other).status_code == 200


def test_guesses_at_tokens_are_limited_by_address_and_clients_are_not(tmp_path: Path) -> None:
    with front(tmp_path, inference_tokens=[CLIENT]) as gateway:
        for client, right in ((gateway.client, bearer(CLIENT)), (gateway.management, OPERATOR)):
            with ThreadPoolExecutor(16) as pool:  # one after the other, a busy machine may stay below the limit
                guesses = [pool.submit(client.get, "/models", headers=bearer(f"wrong-{n}")) for n in range(120)]
                answers = [guess.result() for guess in guesses]
            assert {answer.status_code for answer in answers} == {401, 429}
            assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
            assert client.get("/models", headers=right).status_code in (200, 404)
        written = (gateway.settings.log_dir / "gateway.error.log").read_text()
        assert "limiting" not in written
        assert CLIENT not in written


def test_ping_tells_strangers_nothing_but_whether(guarded: Front) -> None:
    guarded.nginx.readiness.publish(True, {"echo": True, "ill": False}, {"echo": {"1.0": "ready"}, "ill": {"2": "x"}})
    named = {"Host": "api.example.org"}
    for path in ("/ping", "//ping", "/ping/", "/./ping"):
        told = httpx.get(f"{guarded.client.base_url}".rstrip("/") + path, headers=named)
        assert (told.status_code, told.json()) == (200, {"status": "Healthy"}), path
    assert error_of(guarded.client.get("/ping/echo", headers=named))["code"] == "unauthorized"
    assert error_of(guarded.client.get("/ping/nobody", headers=named))["code"] == "unauthorized"
    whole = guarded.client.get("/ping", headers={**named, **bearer(CLIENT)})
    assert whole.json()["models"] == {"echo": {"1.0": "ready"}, "ill": {"2": "x"}}
    assert guarded.client.get("/ping/echo", headers={**named, **bearer(CLIENT)}).status_code == 200


def test_ping_of_a_model_says_whether_that_one_answers(gateway: Front) -> None:
    ping = gateway.client.get
    publish = gateway.nginx.readiness.publish
    states = {"echo": {"1.0": "ready"}, "ill": {"2.0": "refused"}}
    publish(True, {"echo": True, "ill": False}, states)
    assert (ping("/ping").status_code, ping("/ping").json()) == (200, {"status": "Healthy", "models": states})
    assert (ping("/ping/echo").status_code, ping("/ping/ill").status_code) == (200, 503)
    assert ping("/ping/ill").json() == {"status": "Unhealthy", "versions": {"2.0": "refused"}}
    assert error_of(ping("/ping/nobody"))["code"] == "unknown_model"
    publish(False, {"echo": True}, {"echo": {"1.0": "ready"}})
    assert (ping("/ping").status_code, ping("/ping").json()["status"]) == (503, "Unhealthy")
    assert (ping("/ping/echo").status_code, ping("/ping/ill").status_code) == (200, 404)


# ---- where from, and for whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST:8080", "127.0.0.1:1")),
        *(
            (name, 421)
            for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "10.0.0.1")
        ),
    ],
)
def test_on_loopback_only_its_own_names_are_served(gateway: Front, host: str, status: int) -> None:
    sent = {"Host": host, **OPERATOR}
    answers = [gateway.client.post("/predictions/echo", json={}, headers=sent)]
    answers.append(gateway.management.get("/models", headers=sent))
    assert [answer.status_code for answer in answers] == [status, status]
    if status == 421:
        assert [error_of(answer)["code"] for answer in answers] == ["wrong_host"] * 2
        assert gateway.client.get("/ping", headers=sent).status_code == 421


@pytest.mark.parametrize(
    ("host", "status"),
    [("api.example.org:8080", 404), ("a.inner.example.org", 404), ("inner.example.org", 421), ("10.0.0.1", 421)],
)
def test_a_list_of_hosts_is_kept_to(guarded: Front, host: str, status: int) -> None:
    assert guarded.client.get("/", headers={"Host": host, **bearer(OTHER)}).status_code == status
    assert guarded.management.get("/nowhere", headers={"Host": host, **OPERATOR}).status_code == status


def test_open_to_the_network_any_name_is_served_unless_hosts_are_listed(tmp_path: Path) -> None:
    with front(tmp_path, host="0.0.0.0") as gateway:
        sent = {"Host": "anything.example", **OPERATOR}
        assert gateway.client.post("/predictions/echo", json={}, headers=sent).status_code == 200
        assert gateway.management.get("/models", headers=sent).status_code == 421  # it is on loopback


def test_a_request_without_a_host_is_served(gateway: Front) -> None:
    assert gateway.exchange(b"GET /ping HTTP/1.0\r\n\r\n").split()[1] in (b"200", b"503")


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (None, False),
        ("http://localhost:80", True),
        ("http://evil.example", True),
        ("null", True),
        ("http://localhost.evil.example", True),
        ("{own}", False),
        ("{own}.evil.example", True),
        ("x{own}", True),
    ],
)
def test_pages_of_other_sites_reach_neither_labels_nor_management(
    gateway: Front, origin: str | None, refused: bool
) -> None:
    for client, method, path in (
        (gateway.client, "POST", "/feedback"),
        (gateway.management, "GET", "/models"),
        (gateway.management, "GET", "/metrics"),
    ):
        own = str(client.base_url).rstrip("/")
        headers = {**OPERATOR, **({"Origin": origin.format(own=own)} if origin else {})}
        answer = client.request(method, path, headers=headers, json={} if method == "POST" else None)
        assert answer.status_code == (403 if refused else 200), path
        if refused:
            assert error_of(answer)["code"] == "origin_refused"


# ---- TLS ------------------------------------------------------------------------------------------------------------


def test_with_a_certificate_both_ports_speak_tls_and_nothing_else(tmp_path: Path) -> None:
    with front(tmp_path, **self_signed(tmp_path, "it's $mine")) as gateway:
        assert gateway.client.post("/predictions/echo", json={}).status_code == 200
        assert gateway.management.get("/models", headers=OPERATOR).status_code == 200
        for management in (False, True):
            answer = gateway.exchange(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", management)
            assert refusal_of(answer) == (400, "tls_expected")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", gateway.settings.inference_port)) as connection:  # noqa: SIM117
            with pytest.raises(ssl.SSLError):
                old.wrap_socket(connection)


def test_a_renewed_certificate_is_taken_up_by_a_hangup(tmp_path: Path) -> None:
    with front(tmp_path, **self_signed(tmp_path)) as gateway:
        address = ("127.0.0.1", gateway.settings.inference_port)
        first = ssl.get_server_certificate(address)
        self_signed(tmp_path)
        gateway.nginx.signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while ssl.get_server_certificate(address) == first:
            assert time.monotonic() < end
            time.sleep(0.1)


# ---- management -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("", True),
        ("url=echo-1.0.mar", True),
        ("url=echo-1.0%2Bbuild.1.mar&initial_workers=1&synchronous=true", True),
        ("limit=10&next_page_token=3", True),
        ("min_worker=2&", True),
        *(
            (query, False)
            for query in (
                "url=t", "url=.mar", "url=a.mar%00", "url=..", "url=a.mar/..", "url=../a.mar", "url=%2e%2e%2fa.mar",
                "url=a.mar&url=/etc", "url=file:a.mar", "url=a.war", "url=a.mar;url=t", "%75rl=a.mar", "URL=a.mar",
                "handler=os:system", "url=a.mar&handler=os:system", "surprise=1", "runtime=python", "min_worker=-1",
                "min_worker=1e9", "batch_size=9999999999", "synchronous=perhaps", "url", "=", "&", "customized=true",
                "model_name=a b", "model_name=../x", "s3_sse_kms=true",
            )
        ),
    ],
)  # fmt: skip
def test_management_passes_on_what_is_known_and_nothing_else(gateway: Front, query: str, passes: bool) -> None:
    request = f"POST /models?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    answer = gateway.exchange(f"{request}Content-Length: 0\r\nConnection: close\r\n\r\n".encode(), management=True)
    if passes:
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert told["path"] == (f"/models?{query}" if query else "/models")
        assert "Content-Type" not in told["headers"] and "Authorization" not in told["headers"]
    else:
        assert int(answer.split()[1]) == 400


def test_management_gets_the_path_as_it_was_understood(gateway: Front) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n"
    for path in (b"/workflows/../models/m", b"//models//m", b"/%6dodels/m", b"/./models/m"):
        answer = gateway.exchange(head % (path, TOKEN.encode()), management=True)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["path"] == "/models/m"

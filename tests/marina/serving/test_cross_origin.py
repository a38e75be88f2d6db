"""What a browser is told when the page of another site asks (CORS), on each of the ports."""

from collections.abc import Iterator

import httpx
import pytest

from marina.settings import Settings
from tests.marina.serving.front import CLIENT, JSON, LABELLER, TOKEN, Front, bearer, front
from tests.marina.serving.test_gateway import error_of

APP, LOCAL, EVIL = "https://app.example.org", "http://localhost:3000", "https://app.example.org.evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-partial"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that asks for tokens, and lets the pages of two sites in."""
    tokens = {"inference_tokens": [CLIENT], "feedback_tokens": [LABELLER]}
    with front(tmp_path_factory.mktemp("opened"), cors_origins=[APP, LOCAL], **tokens) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/predictions/echo", "POST, PUT"),
        ("/predictions/echo/1.0", "POST, PUT"),
        ("/explanations/echo", "POST, PUT"),
        ("/feedback", "POST"),
        ("/ping", "GET, HEAD"),
        ("/ping/echo", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("origin", [APP, LOCAL, APP.upper()])
def test_a_listed_page_is_told_before_it_asks_what_it_may_send(
    opened: Front, path: str, methods: str, origin: str
) -> None:
    answer = opened.client.options(path, headers={"Origin": origin, **PREFLIGHT})  # a browser sends no token with it
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == methods
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {
        "authorization",
        "content-type",
        "x-request-id",
        "x-session-id",
        "x-partial",
        "x-tta",
        "x-embedding",
    } <= allowed
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", [EVIL, "https://appxexample.org", "null", "http://app.example.org", "", None])
def test_no_other_page_is_told_anything_and_caches_know_why(opened: Front, origin: str | None) -> None:
    headers = PREFLIGHT if origin is None else {"Origin": origin, **PREFLIGHT}
    for path in ("/predictions/echo", "/feedback", "/ping"):
        answer = opened.client.options(path, headers=headers)
        assert answer.status_code in (401, 405)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "Origin"


def test_answers_and_refusals_alike_can_be_read_by_the_page(opened: Front) -> None:
    at = {"Origin": APP, **bearer(CLIENT)}
    asked = [
        (200, opened.client.post("/predictions/echo", json={}, headers=at)),
        (401, opened.client.post("/predictions/echo", json={}, headers={"Origin": APP})),
        (404, opened.client.post("/predictions/nobody", json={}, headers=at)),
        (404, opened.client.get("/nowhere", headers=at)),
        (405, opened.client.delete("/predictions/echo", headers=at)),
        (415, opened.client.post("/predictions/echo", content=b"<a/>", headers={"Content-Type": "text/xml", **at})),
        (413, opened.client.post("/predictions/echo", content=b"x" * (9 * 2**20), headers={**JSON, **at})),
        (422, opened.client.post("/predictions/echo", json={}, headers={"X-TTA": '{"1.0": [422]}', **at})),
        (421, opened.client.get("/ping", headers={"Host": "evil.example", "Origin": APP})),
        (200, opened.client.post("/feedback", json={}, headers={"Origin": APP, **bearer(LABELLER)})),
        (503, opened.client.get("/ping", headers={"Origin": APP})),  # nothing is published here
    ]
    for status, answer in asked:
        assert answer.status_code == status, answer.text
        assert answer.headers.get_list("access-control-allow-origin") == [APP], answer.text
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert answer.headers.get_list("vary") == ["Origin"]
        assert "access-control-allow-methods" not in answer.headers


def test_labels_of_pages_that_are_not_listed_are_refused_as_before(opened: Front) -> None:
    answer = opened.client.post("/feedback", json={}, headers={"Origin": EVIL, **bearer(LABELLER)})
    assert (answer.status_code, error_of(answer)["code"]) == (403, "origin_refused")


def test_management_is_opened_to_no_page(opened: Front) -> None:
    operator = {"Authorization": f"Bearer {TOKEN}", "Origin": APP}
    for answer in (
        opened.management.get("/models", headers=operator),
        opened.management.get("/metrics", headers=operator),
        opened.management.options("/models", headers={**operator, **PREFLIGHT}),
    ):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
    scraped = httpx.get(f"http://127.0.0.1:{opened.settings.metrics_port}/nowhere", headers={"Origin": APP})
    assert "access-control-allow-origin" not in scraped.headers


def test_by_default_no_page_is_let_in_and_each_method_that_is_not_allowed_is_told_which_are(gateway: Front) -> None:
    answer = gateway.client.options("/predictions/echo", headers={"Origin": APP, **PREFLIGHT})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT")
    assert error_of(answer)["code"] == "method_not_allowed"
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predictions/echo", "POST, PUT"), ("/explanations/echo/1.0", "POST, PUT"), ("/feedback", "POST"),
        ("/ping", "GET, HEAD"), ("/nowhere", "GET, HEAD, POST, PUT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_are_refused_before_the_address_is_looked_at_are_told_too(
    gateway: Front, method: str, path: str, allowed: str
) -> None:
    answer = gateway.exchange(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head = answer.partition(b"\r\n\r\n")[0].decode()
    assert " 405 " in head.splitlines()[0] and f"Allow: {allowed}\r\n" in head + "\r\n"
    assert b"method_not_allowed" in answer


@pytest.mark.parametrize(("method", "path"), [("POST", "/metrics"), ("TRACE", "/metrics"), ("TRACE", "/models/m")])
def test_management_tells_which_methods_are_allowed(gateway: Front, method: str, path: str) -> None:
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    )
    head = gateway.exchange(request.encode(), management=True).partition(b"\r\n\r\n")[0].decode()
    assert " 405 " in head.splitlines()[0]
    assert ("Allow: GET, HEAD" if path == "/metrics" else "DELETE, OPTIONS") in head


def test_any_page_may_be_let_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    with front(tmp_path_factory.mktemp("any"), cors_origins=["*"]) as gateway:
        for origin in (APP, "null", "file://"):
            answer = gateway.client.options("/feedback", headers={"Origin": origin, **PREFLIGHT})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
            assert gateway.client.post("/feedback", json={}, headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["app.example.org", "https://app.example.org/", "https://app.example.org/page", "https://*.example.org", "null",
     "https://a b", "https://user@app.example.org", 'https://a"; return 200; #', "https://a:port"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_with_its_form(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"https://app\.example\.org"):
        Settings(cors_origins=[wrong])

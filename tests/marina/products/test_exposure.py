"""Who may reach which route of the products' interface: the gateway alone, before a socket that answers everything."""

import time
from collections.abc import Iterator

import pytest

from tests.marina.serving.front import BUSY, CLIENT, LABELLER, TOKEN, Front, bearer, front
from tests.marina.serving.test_gateway import error_of

PAGE = "https://app.example.org"
CHANGES = [("PUT", "/api/ml/config"), ("POST", "/api/ml/models/retrain")]


def spellings(path: str) -> list[str]:
    """Return a path as it is, and as it may be written to get past who looks at its characters."""
    encoded = f"{path[:-1]}%{ord(path[-1]):02x}"
    doubled = path.replace("/", "//")
    return [path, f"{path}%0A", f"{path}?x", f"{path}/", doubled, encoded, f"/x/..{path}", f"/x/%2e%2e{path}"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that asks for tokens, and lets the pages of one site in."""
    tokens = {"inference_tokens": [CLIENT], "feedback_tokens": [LABELLER]}
    folder = tmp_path_factory.mktemp("guarded")
    with front(folder, behind=["products"], cors_origins=[PAGE], **tokens) as made:
        yield made


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway without tokens of clients."""
    with front(tmp_path_factory.mktemp("opened"), behind=["products"]) as made:
        yield made


def status(gateway: Front, method: str, path: str, token: str = "") -> int:
    said = {"Host": "localhost", "Connection": "close", "Content-Type": "application/json", "Content-Length": "2"}
    said |= bearer(token) if token else {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    request = f"{method} {path} HTTP/1.1\r\n{lines}\r\n{{}}".encode()  # a client would spell it its own way
    while (found := int(gateway.exchange(request).split()[1])) == BUSY:  # too many strangers' requests a second
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_only_the_operator_changes_what_decides_on_alerts(
    guarded: Front, opened: Front, method: str, path: str
) -> None:
    for spelled in spellings(path):
        assert status(guarded, method, spelled, CLIENT) == 401, spelled
        assert status(opened, method, spelled) == 401, spelled
    assert status(guarded, method, path) == status(guarded, method, path, LABELLER) == 401
    assert status(guarded, method, path, TOKEN) == status(opened, method, path, TOKEN) == 200
    refused = opened.client.request(method, path, json={})
    assert "management token" in error_of(refused)["message"]
    foreign = {**bearer(TOKEN), "Origin": "https://elsewhere.example"}
    assert error_of(opened.client.request(method, path, json={}, headers=foreign))["code"] == "origin_refused"


def test_clients_and_the_operator_read_how_the_market_is_judged(guarded: Front, opened: Front) -> None:
    read = [status(guarded, "GET", "/api/ml/config", token) for token in ("", LABELLER, CLIENT, TOKEN)]
    assert read == [401, 401, 200, 200] and status(opened, "GET", "/api/ml/config") == 200


def test_labels_of_products_need_the_labellers_token_however_they_are_spelled(guarded: Front) -> None:
    for path in ("/transactions/feedback", "/ml/anomaly/feedback", f"/ml/recommendations/{'a' * 32}/feedback"):
        for spelled in spellings(path):
            assert status(guarded, "POST", spelled, CLIENT) == 401, spelled
        assert status(guarded, "POST", path, LABELLER) == 200
    assert status(guarded, "PUT", "/ml/anomaly/thresholds/feedback", CLIENT) == 200


@pytest.mark.parametrize("path", ["/ml/catalog/classify", "/api/ml/config", "/transactions/feedback", "/api/ml/stream"])
def test_a_listed_page_is_told_without_a_token_what_it_may_send(guarded: Front, path: str) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = guarded.client.options(path, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, PAGE)

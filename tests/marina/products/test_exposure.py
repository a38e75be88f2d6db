"""Who may reach which route of the products' interface: the gateway alone, before a socket that answers everything."""

from collections.abc import Iterator

import pytest

from tests.marina.serving.front import CLIENT, LABELLER, TOKEN, Front, bearer, front
from tests.marina.serving.test_gateway import error_of

PAGE = "https://app.example.org"
CHANGES = [("PUT", "/api/ml/config"), ("POST", "/api/ml/models/retrain")]
RESPELLED = ("{}%0A", "{}?x", "{}/")


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
    headers = bearer(token) if token else {}
    return gateway.client.request(method, path, json={}, headers=headers).status_code


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_only_the_operator_changes_what_decides_on_alerts(
    guarded: Front, opened: Front, method: str, path: str
) -> None:
    for spelled in (path, *(one.format(path) for one in RESPELLED)):
        assert [status(guarded, method, spelled, token) for token in ("", CLIENT, LABELLER)] == [401] * 3, spelled
        assert status(opened, method, spelled) == 401
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
        for spelled in (path, *(one.format(path) for one in RESPELLED)):
            assert status(guarded, "POST", spelled, CLIENT) == 401, spelled
        assert status(guarded, "POST", path, LABELLER) == 200
    assert status(guarded, "PUT", "/ml/anomaly/thresholds/feedback", CLIENT) == 200


@pytest.mark.parametrize("path", ["/ml/catalog/classify", "/api/ml/config", "/transactions/feedback", "/api/ml/stream"])
def test_a_listed_page_is_told_without_a_token_what_it_may_send(guarded: Front, path: str) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = guarded.client.options(path, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, PAGE)

"""Whatever is sent, a route answers in the one form of errors, and never fails: at least twenty bad requests each."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.families import market
from tests.marina.products.conftest import Products
from tests.marina.products.test_products import SURE, month

FEATURES = {"features": {"lines_added": 3.0}}
TRUTH = {"request_id": "r", "label": "sante", "source": "rule", "predicted": "x"}
CONFIG = {"who": "a", "why": "b", "config": {"enabled": True}}

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "/transactions/categorize": ("POST", {"transactions": [SURE]}),
    "/transactions/feedback": ("POST", TRUTH),
    "/ml/anomaly/detect": ("POST", {"transactions": [SURE], "history": [], "user": "u"}),
    "/ml/anomaly/feedback": ("POST", {"request_id": "r", "row": 0, "anomalous": True}),
    "/ml/anomaly/thresholds/u": ("PUT", {"suspicious": 0.1, "anomalous": 0.5}),
    "/ml/budget/analyze": ("POST", month(user="u")),
    "/ml/budget/channels/u": ("PUT", {"channels": ["https://127.0.0.1/x"], "language": "fr"}),
    f"/ml/recommendations/{'a' * 32}/feedback": ("POST", {"relevant": True}),
    "/api/ml/features/window": ("POST", market.good("market_alerts")[0]),
    "/api/ml/models/retrain": ("POST", {"who": "a", "why": "b"}),
    "/api/ml/config": ("PUT", CONFIG),
    "/ml/code/risk": ("POST", FEATURES),
    "/ml/catalog/classify": ("POST", {"designation": "x"}),
}

QUERIES: dict[str, tuple[str, ...]] = {
    "/api/ml/predict": ("horizon", "alert_type", "min_probability", "all_horizons", "include_performance"),
    "/api/ml/explain": ("alert_type", "horizon"),
}

RAW = [
    b"", b"{", b"nonsense", b"[]", b"null", b'"text"', b"7", b"NaN", b'{"a": NaN}', b"{}", b'{"unknown": 1}',
    b"\xff\xfe",
    b"[" * 5000, b'{"a":' * 500 + b"1" + b"}" * 500, b"{'a': 1}", b'{"a": 1,}', b"\x00", b'{"\\ud800": 1}',
]  # fmt: skip

ODD: list[Any] = [
    None, True, 7, -1, 1e308, 10**400, "", "x" * 100_000, "\0", "\ud83d", [], [None], [[1]], {}, {"a": {"b": 1}},
]  # fmt: skip

VALUES = ["", "x", "-1", "2", "nan", "inf", "1e999", "\0", "é", "4", "24H", "x" * 5000]


def mutations(body: dict[str, Any]) -> Iterator[bytes]:
    for name in body:
        for value in ODD:
            yield json.dumps({**body, name: value}).encode()
        yield json.dumps({key: value for key, value in body.items() if key != name}).encode()
    yield json.dumps({**body, "unknown": 1}).encode()


def check(products: Products, method: str, path: str, **more: Any) -> int:
    answer = products.client.request(method, path, **more)
    assert answer.status_code < 500, (method, path, more, answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["code"] and error["message"] and error["request_id"], answer.text
    return answer.status_code


@pytest.mark.parametrize("path", BODIES)
def test_bad_bodies_are_refused_in_one_form(products: Products, path: str) -> None:
    method, body = BODIES[path]
    sent = [*RAW, *mutations(body)]
    json_type = {"Content-Type": "application/json"}
    refused = [check(products, method, path, content=one, headers=json_type) for one in sent]
    assert sum(status >= 400 for status in refused) >= 20
    assert all(status >= 400 for status in refused[: len(RAW)])
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        check(products, method, path, content=json.dumps(body).encode(), headers={"Content-Type": kind})
    for other in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {method, "GET"}:
        check(products, other, path, json=body)
    for key in ("", " ", "x" * 200, "é".encode()):
        check(products, method, path, json={}, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("path", QUERIES)
def test_bad_queries_are_refused_in_one_form(products: Products, path: str) -> None:
    refused = [check(products, "GET", path, params={name: value}) for name in QUERIES[path] for value in VALUES]
    assert sum(status == 422 for status in refused) >= 20


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"a,b\n1,2\n", b"designation\n", b"designation,x\nonly\n", b"\xff\xfe", b'designation\n"open\n', b"\0",
     b"designation,designation\n,\n", b"designation\n" + b"x\n" * 10_001, b'designation\n"' + b"x" * 20_001 + b'"\n',
     b"designation,description\nx," + b"x" * 200_001 + b"\n", b"designation,other\nx," + b"x" * 200_001 + b"\n",
     b"designation;description\na,b\n", b"\xef\xbb\xbf", b"\r\r\r", b'"', b'""', b",,,,", b"designation" * 10_000,
     b"Designation\nx\n", b"designation\tx\n1\n"],
)  # fmt: skip
def test_files_that_are_none_are_refused(products: Products, content: bytes) -> None:
    status = check(products, "POST", "/ml/catalog/csv", content=content, headers={"Content-Type": "text/csv"})
    assert status in (400, 422)
    assert check(products, "POST", "/ml/catalog/csv", content=content, headers={"Content-Type": "text/html"}) == 415


@pytest.mark.parametrize("user", ["a b", "é", "x" * 200, "..%2f..", "%00", "a%0ab", "<script>", "a;b", "'", '"'])
def test_names_of_users_that_are_none_are_refused(products: Products, user: str) -> None:
    for path in (f"/ml/anomaly/thresholds/{user}", f"/ml/budget/channels/{user}"):
        assert check(products, "GET", path) in (404, 422)
        assert check(products, "PUT", path, json={"suspicious": 0.1, "anomalous": 0.2, "channels": []}) in (404, 422)


def test_alerts_go_to_hosts_that_the_operator_lists_and_to_no_others(products: Products) -> None:
    for url in (
        "http://169.254.169.254/",
        "https://example.org/",
        "ftp://127.0.0.1/",
        "https://",
        "file:///etc/passwd",
    ):
        assert check(products, "PUT", "/ml/budget/channels/u", json={"channels": [url]}) == 422

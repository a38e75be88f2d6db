"""The products' interface behind a real gateway, over a real model server."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.handlers import every
from tests.serving import Server, running

TOKEN = "a-token-of-a-client-000"
LISTING = {"designation": "Piscine Ronde Hors Sol 3,60 m"}


def wait_for(server: Server, headers: dict[str, str]) -> httpx.Response:
    """Ask until the interface answers."""
    end = time.monotonic() + 60
    while True:
        answer = httpx.post(f"{server.url}/ml/catalog/classify", json=LISTING, headers=headers, timeout=30)
        if answer.status_code != 503 or time.monotonic() > end:
            return answer
        time.sleep(0.2)


def check(server: Server) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": "mine-1"}
    first = wait_for(server, headers)
    assert first.status_code == 200, first.text
    assert first.json()["served"]["models"]["catalog"] == {
        "version": "1.0", "cache": "miss", "prediction_id": "mine-1",
    }  # fmt: skip
    again = wait_for(server, {**headers, "X-Request-Id": "mine-2"}).json()
    assert again["served"]["models"]["catalog"]["cache"] == "memory"
    assert again["served"]["models"]["catalog"]["prediction_id"] == "mine-1"
    assert again["listings"][0]["code"] == first.json()["listings"][0]["code"]

    stranger = httpx.post(f"{server.url}/ml/catalog/classify", json=LISTING)
    assert stranger.status_code == 401 and stranger.json()["error"]["code"] == "unauthorized"
    foreign = {**headers, "Origin": "https://elsewhere.example"}
    refused = httpx.put(f"{server.url}/api/ml/config", json={}, headers=foreign)
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "origin_refused"
    page = httpx.get(f"{server.url}/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "SwaggerUIBundle" in httpx.get(f"{server.url}/docs/swagger-ui-bundle.js").text
    assert httpx.get(f"{server.url}/openapi.json").json()["paths"]["/ml/catalog/classify"]
    off = httpx.post(f"{server.url}/ml/anomaly/detect", json={"transactions": []}, headers=headers)
    assert off.status_code == 422

    with httpx.stream("GET", f"{server.url}/api/ml/stream", headers=headers, timeout=30) as stream:
        assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
        assert next(stream.iter_lines()).startswith("retry:")

    feedback = {"request_id": "mine-1", "label": first.json()["listings"][0]["code"], "source": "model"}
    told = httpx.post(f"{server.url}/transactions/feedback", json=feedback, headers=headers)
    assert told.status_code == 200, told.text
    assert told.json()["outcome"] in ("recorded", "early")

    pid = server.pids["products"]
    os.kill(pid, signal.SIGKILL)
    back = wait_for(server, {**headers, "X-Request-Id": "mine-3"})
    assert back.status_code == 200 and server.pids["products"] != pid
    end = time.monotonic() + 60
    while True:
        text = httpx.get(f"{server.management_url}/metrics", headers=server.authorization, timeout=30).text
        if 'route="/ml/catalog/classify"' in text or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert "marina_product_requests_total{replica=" in text and "marina_answer_cache_total{replica=" in text


@pytest.mark.slow
def test_a_front_end_reaches_a_model_through_gateway_interface_and_gateway() -> None:
    every.loaded("catalog")
    [archive] = every.loaded("catalog")[1].glob("*.mar")
    with running([Path(archive)], {"inference_tokens": json.dumps([TOKEN])}) as server:
        check(server)
        stream = f"{server.url}/api/ml/stream"
        with httpx.stream("GET", stream, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as listening:
            lines = listening.iter_lines()
            assert next(lines).startswith("retry:")
            server.process.terminate()
            assert list(lines) == [""]  # it ends whole, and is not cut off when the time to drain is over

"""The whole of it: TorchServe, the gateway, the live service, and a real browser that plays the demo."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from marina.products.live.demo_stream import read_request, stream
from tests.marina.products.live.talk import hear, play, talking
from tests.serving import ROOT, Server, running

pytestmark = pytest.mark.slow
SITE = "https://app.example.org"
VIEWPORT = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def server(signflow_archive: Path) -> Iterator[Server]:
    overrides: dict[str, Any] = {"live_confidence": 0, "cors_origins": json.dumps([SITE]), "live_assets": "/nowhere"}
    with running([signflow_archive], overrides) as server:
        yield server


@pytest.fixture(scope="module")
def expected(server: Server) -> str:
    """What the model answers to the demo's sign when it is asked directly."""
    frames = read_request(ROOT / "sample_request.json")[0].astype(np.float16).astype(np.float64)
    answer = httpx.post(f"{server.url}/predictions/signflow", json={"frames": frames.tolist()})
    return str(answer.json()["predictions"][0]["label"])


def address(server: Server) -> str:
    return f"{server.url.replace('http', 'ws')}/live/stream"


def test_a_sign_is_answered_through_the_gateway_and_takes_make_it_surer(server: Server, expected: str) -> None:
    frames = stream(read_request(ROOT / "sample_request.json"))

    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        async with talking(address(server)) as page:
            await page.send(json.dumps({"type": "embed", "on": True}))
            await play(page, frames)
            before = await hear(page, "answer")
            take = before["embedding"]
            calibration = {"calibration_of": take["calibration_of"], "prototypes": {expected: [take["vector"]]}}
            await page.send(json.dumps({"type": "calibrate", **calibration}))
            await play(page, np.concatenate([frames, frames]), len(frames))
            return before, await hear(page, "answer")

    before, after = asyncio.run(run())
    assert before["predictions"][0]["label"] == after["predictions"][0]["label"] == expected
    assert after["probability"] > before["probability"]


def test_pages_of_other_sites_are_refused_unless_they_are_listed(server: Server) -> None:
    async def run(origin: str | None) -> str:
        from websockets.asyncio.client import connect

        async with connect(address(server), origin=origin, proxy=None) as page:  # type: ignore[arg-type]
            await page.send(json.dumps({"type": "hello"}))
            return str((await hear(page, "welcome"))["type"])

    for origin in (None, SITE, server.url):
        assert asyncio.run(run(origin)) == "welcome"
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(run("https://elsewhere.example.org"))
    assert refused.value.response.status_code == 403


def test_what_is_no_websocket_and_no_page_is_refused_in_the_gateways_form(server: Server) -> None:
    for path, status in (("/live/stream", 426), ("/live/nothing", 404), ("/live/assets/holistic.task", 404)):
        answer = httpx.get(server.url + path)
        assert answer.status_code == status and answer.json()["error"]["message"], path
    assert httpx.post(f"{server.url}/live/").status_code == 405
    assert httpx.get(f"{server.url}/live").headers["location"] == "/live/"
    assert "default-src 'none'" in httpx.get(f"{server.url}/live/").headers["content-security-policy"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium: apt-get install chromium")
def test_a_browser_plays_the_demo_and_shows_the_sign(server: Server, expected: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=VIEWPORT)  # type: ignore[arg-type]
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(f"{server.url}/live/")
            expect(page.locator("#notice")).to_contain_text("make live-assets")
            expect(page.locator("#camera")).to_be_disabled()
            page.locator("#demo").focus()
            page.keyboard.press("Enter")
            expect(page.locator("#sign")).to_contain_text(expected, timeout=30_000)
            expect(page.locator("#latency")).to_contain_text("ms")
            assert page.evaluate("document.documentElement.scrollWidth") <= VIEWPORT["width"]
            page.locator("#taught").fill(expected)
            page.locator("#teach").click()
            expect(page.locator("#takes li")).to_have_text(f"{expected}: 1", timeout=30_000)
            page.keyboard.press("Escape")
            expect(page.locator("#state")).to_have_text("not connected")
            unnamed = (
                "[...document.querySelectorAll('input,button')].filter(one => !one.labels?.length && !one.textContent)"
            )
            assert page.evaluate(f"{unnamed}.length") == 0
        finally:
            browser.close()
    assert said == []
    assert {url.split("/")[2] for url in asked} == {server.url.split("/")[2]}

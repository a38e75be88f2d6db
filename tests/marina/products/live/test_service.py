"""What a page is told over its WebSocket: signs, and why a connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from marina.products.live.frames import pack
from tests.marina.products.live.talk import by_content, hear, performed, play, serving, talking


def closing(error: pytest.ExceptionInfo[ConnectionClosed]) -> tuple[int, str]:
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


async def ended(page: Any, within_s: float = 10.0) -> tuple[int, str]:
    """Wait for the end of a connection; return its code and reason."""
    with pytest.raises(ConnectionClosed) as error:
        async with asyncio.timeout(within_s):
            while True:
                await page.recv()
    return closing(error)


def test_a_sign_is_answered_with_its_name_probability_and_time() -> None:
    async def run() -> None:
        async with serving() as url, talking(url) as page:
            welcome = await hear(page, "welcome")
            assert welcome["received"] == -1 and not welcome["resumed"]
            await play(page, performed(1)[0])
            answer = await hear(page, "answer")
            assert answer["number"] == 1 and answer["sign"] == answer["predictions"][0]["label"]
            assert answer["probability"] == 0.9 and 0 <= answer["ms"] < 10_000 and answer["frames"] > 20
            assert (await hear(page, "state"))["state"] == "IDLE"

    asyncio.run(run())


def test_sessions_that_are_interleaved_get_what_they_get_alone() -> None:
    count = 8
    streams = performed(count)

    async def alone(url: str, frames: Any) -> str:
        async with talking(url) as page:
            await play(page, frames)
            return str((await hear(page, "answer"))["sign"])

    async def interleaved(url: str) -> list[str]:
        async with contextlib.AsyncExitStack() as stack:
            pages = [await stack.enter_async_context(talking(url)) for _ in streams]
            for number in range(max(map(len, streams))):
                for page, frames in zip(pages, streams, strict=True):
                    if number < len(frames):
                        await page.send(pack(number, number / 30, frames[number]))
            return [str((await hear(page, "answer"))["sign"]) for page in pages]

    async def run() -> None:
        async with serving() as url:
            expected = [await alone(url, frames) for frames in streams]
            assert len({*expected}) == count
            assert await interleaved(url) == expected

    asyncio.run(run())


def test_one_session_more_than_there_may_be_is_told_to_try_again() -> None:
    async def run() -> None:
        async with serving(live_sessions=2) as url, talking(url) as one, talking(url) as two:
            await hear(one, "welcome")
            await hear(two, "welcome")
            async with talking(url) as third:
                code, reason = await ended(third)
                assert code == 1013 and "try again" in reason
            await two.close()
            async with talking(url) as fourth:
                await hear(fourth, "welcome")

    asyncio.run(run())


def test_a_session_goes_on_where_its_connection_was_lost() -> None:
    """Frames that come twice count once, and the answer is that of an undisturbed stream."""
    frames = performed(1)[0]

    async def run() -> None:
        async with serving() as url:
            async with talking(url) as page:
                await play(page, frames)
                undisturbed = await hear(page, "answer")
            async with talking(url) as page:
                session = (await hear(page, "welcome"))["session"]
                await play(page, frames, 0, 40)
                await hear(page, "received")
                page.transport.abort()
            async with talking(url, session=session) as page:
                welcome = await hear(page, "welcome")
                assert welcome["resumed"] and 0 <= welcome["received"] < 40
                await play(page, frames, max(0, welcome["received"] - 5))
                answer = await hear(page, "answer")
            assert (answer["sign"], answer["frames"]) == (undisturbed["sign"], undisturbed["frames"])
            async with talking(url, session=session, answers=0) as page:
                assert (await hear(page, "answer"))["sign"] == answer["sign"]  # once more, for a page that missed it

    asyncio.run(run())


def test_another_window_takes_a_session_over() -> None:
    async def run() -> None:
        async with serving() as url, talking(url) as one:
            session = (await hear(one, "welcome"))["session"]
            async with talking(url, session=session) as two:
                assert (await hear(two, "welcome"))["resumed"]
                assert (await ended(one))[0] == 4409
                await two.send(json.dumps({"type": "bye"}))
                assert (await ended(two))[0] == 1000

    asyncio.run(run())


def test_a_session_that_sends_nothing_is_ended() -> None:
    async def run() -> None:
        async with serving(live_idle_s=0.2) as url, talking(url) as page:
            code, reason = await ended(page)
            assert code == 1000 and reason.startswith("idle")

    asyncio.run(run())


def test_where_tokens_are_set_one_is_asked_for() -> None:
    sent = []

    def ask(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("authorization"))
        return by_content(request)

    async def run() -> None:
        async with serving(ask, inference_tokens=["a-token-of-a-client"]) as url:
            for hello in ({}, {"token": "a-token-of-nobody"}, {"token": 7}):
                async with talking(url, **hello) as page:
                    assert (await ended(page))[0] == 4401
            async with talking(url, token="a-token-of-a-client") as page:
                await play(page, performed(1)[0])
                await hear(page, "answer")
        assert sent == ["Bearer a-token-of-a-client"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"short", "expected 462 bytes"),
        (pack(1, 0.0, np.full(225, 640.0)), "divide x by the picture's width"),
        (pack(1, float("nan"), np.zeros(225)), "its time in milliseconds"),
        ("no JSON", "expected a JSON object"),
    ],
    ids=["short", "pixels", "no time", "no JSON"],
)
def test_what_is_no_frame_ends_the_connection_with_what_was_expected(message: str | bytes, expected: str) -> None:
    async def run() -> None:
        async with serving() as url, talking(url) as page:
            await hear(page, "welcome")
            await page.send(message)
            code, reason = await ended(page)
            assert code == 1008 and expected in reason

    asyncio.run(run())


def test_too_many_frames_end_the_connection() -> None:
    async def run() -> None:
        async with serving() as url, talking(url) as page:
            with pytest.raises(ConnectionClosed) as error:
                for number in range(3000):
                    await page.send(pack(number, number / 30, np.zeros(225)))
                    await asyncio.sleep(0)
                while True:
                    await page.recv()
            assert closing(error)[0] == 1008

    asyncio.run(run())


@pytest.mark.parametrize("length", [60, 400_000])
def test_too_many_texts_end_the_connection_the_sooner_the_longer_they_are(length: int) -> None:
    text = json.dumps({"type": "embed", "on": True, "pad": "x" * length})

    async def run() -> None:
        async with serving() as url, talking(url) as page:
            with pytest.raises(ConnectionClosed) as error:
                for _ in range(3000 if length < 100 else 30):
                    await page.send(text)
                    await asyncio.sleep(0)
                while True:
                    await asyncio.wait_for(page.recv(), 5)
            assert closing(error)[0] == 1008

    asyncio.run(run())


def test_what_the_model_says_no_to_is_told_and_the_next_sign_is_answered() -> None:
    answers = iter([httpx.Response(429, json={"error": {"code": "queue_full", "message": "The queue is full."}})])

    def ask(request: httpx.Request) -> httpx.Response:
        return next(answers, None) or by_content(request)

    async def run() -> None:
        frames = np.concatenate([performed(1)[0]] * 2)
        async with serving(ask) as url, talking(url) as page:
            half = len(frames) // 2
            await play(page, frames, 0, half)
            assert (await hear(page, "error"))["code"] == "queue_full"
            assert (await hear(page, "answer"))["sign"] is None
            await play(page, frames, half)
            assert (await hear(page, "answer"))["sign"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (0.6, {"probability": 0.59, "unusual": False, "confident": True}),
        (0.6, {"probability": 0.99, "unusual": True, "confident": False}),
        (None, {"probability": 0.99, "unusual": False, "confident": False}),
        (None, {"probability": 0.03, "unusual": False}),
        (None, {"probability": 0.03}),
    ],
)
def test_what_is_not_sure_is_no_sign(least: float | None, said: dict[str, Any]) -> None:
    def ask(_: httpx.Request) -> httpx.Response:
        predictions = [{"label": "hello", "probability": said["probability"]}]
        return httpx.Response(200, json={"version": "1.0", "predictions": predictions, **said})

    async def run() -> None:
        async with serving(ask, live_confidence=least) as url, talking(url) as page:
            await play(page, performed(1)[0])
            answer = await hear(page, "answer")
            assert answer["sign"] is None and answer["predictions"][0]["label"] == "hello"

    asyncio.run(run())


def test_guesses_come_while_a_sign_is_recorded() -> None:
    frames = performed(1)[0]

    async def run() -> None:
        async with serving(live_partial_s=0.05) as url, talking(url) as page:
            await play(page, frames, 0, 40)
            assert (await hear(page, "guess"))["predictions"]

    asyncio.run(run())


def test_a_persons_takes_are_embedded_and_count_from_then_on() -> None:
    asked: list[httpx.Request] = []

    def ask(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        body: dict[str, Any] = {"version": "1.0", "predictions": [{"label": "hello", "probability": 0.9}]}
        if "x-embedding" in request.headers:
            body["embedding"] = {"vector": [0.5, 1.0], "calibration_of": "abc"}
        return httpx.Response(200, json=body)

    async def run() -> None:
        frames = performed(1)[0]
        async with serving(ask) as url, talking(url) as page:
            await page.send(json.dumps({"type": "embed", "on": True}))
            await play(page, frames)
            take = (await hear(page, "answer"))["embedding"]
            await page.send(json.dumps({"type": "embed", "on": False}))
            calibration = {"calibration_of": take["calibration_of"], "prototypes": {"hello": [take["vector"]]}}
            await page.send(json.dumps({"type": "calibrate", **calibration}))
            await play(page, np.concatenate([frames, frames]), len(frames))
            await hear(page, "answer")
        sent = orjson.loads(asked[1].content)
        assert {key: sent[key] for key in calibration} == calibration
        assert np.array(sent["frames"], object).shape[1] == 225

    asyncio.run(run())

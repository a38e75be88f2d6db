"""Answers come first: a guess waits for none of them, and leaves the model free for a while."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest

from marina.products.live.recogniser import AskError, Recogniser

FRAMES = np.zeros((3, 225), np.float32)


def test_a_guess_is_asked_for_only_where_no_answer_is_awaited_and_the_last_guess_is_a_while_ago() -> None:
    async def run() -> None:
        may_answer = asyncio.Event()
        now = 100.0

        async def model(_: httpx.Request) -> httpx.Response:
            await may_answer.wait()
            return httpx.Response(200, json={"predictions": [{"label": "a", "probability": 0.9}]})

        async with httpx.AsyncClient(transport=httpx.MockTransport(model), base_url="http://gateway") as client:
            asked = Recogniser(client, "signflow", lambda: now)
            assert asked.calm
            answer = asyncio.create_task(asked.ask(FRAMES, "one"))
            await asyncio.sleep(0)
            assert not asked.calm
            may_answer.set()
            await answer
            assert asked.calm  # an answer does not keep guesses back once it is there
            may_answer.clear()
            guess = asyncio.create_task(asked.guess(FRAMES, "one"))
            await asyncio.sleep(0)
            now += 0.1
            may_answer.set()
            await guess
            assert not asked.calm
            now += 0.29
            assert not asked.calm
            now += 0.02
            assert asked.calm

    asyncio.run(run())


def test_the_rest_after_a_slow_guess_is_bounded_and_there_is_none_where_the_model_is_away() -> None:
    async def run() -> None:
        now = 100.0

        async def model(request: httpx.Request) -> httpx.Response:
            nonlocal now
            now += 30
            if request.headers["x-session-id"] == "away":
                raise httpx.ReadTimeout("no answer in time")
            return httpx.Response(200, json={"predictions": [{"label": "a", "probability": 0.9}]})

        async with httpx.AsyncClient(transport=httpx.MockTransport(model), base_url="http://gateway") as client:
            asked = Recogniser(client, "signflow", lambda: now)
            with pytest.raises(AskError):
                await asked.guess(FRAMES, "away")
            assert asked.calm
            await asked.guess(FRAMES, "one")
            assert not asked.calm
            now += 5
            assert asked.calm

    asyncio.run(run())

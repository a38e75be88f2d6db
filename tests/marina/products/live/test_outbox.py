"""What a slow reader costs: itself, and no one else."""

from __future__ import annotations

import asyncio
import json

import pytest

from marina.products.live.outbox import MOST, POLICY, ClosingError, Outbox


def test_a_reader_that_takes_nothing_is_let_go_in_time() -> None:
    async def run() -> None:
        outbox = Outbox(lambda _: asyncio.sleep(60), slow_s=0.05)
        outbox.put({"type": "answer"})
        with pytest.raises(ClosingError, match="slow reader") as error:
            await asyncio.wait_for(outbox.run(), 5)
        assert error.value.code == POLICY

    asyncio.run(run())


def test_a_reader_for_whom_too_much_waits_is_let_go() -> None:
    async def run() -> None:
        outbox = Outbox(lambda _: asyncio.sleep(0))
        for number in range(MOST + 1):
            outbox.put({"type": "answer", "number": number})
        with pytest.raises(ClosingError, match=f"{MOST} messages wait"):
            await asyncio.wait_for(outbox.run(), 5)

    asyncio.run(run())


def test_of_states_and_guesses_only_the_newest_waits_and_of_answers_all() -> None:
    sent: list[str] = []

    async def send(text: str) -> None:
        sent.append(text)

    async def run() -> None:
        outbox = Outbox(send)
        for number in range(10 * MOST):
            outbox.put({"type": "guess", "number": number})
            outbox.put({"type": "state", "number": number})
            if number % MOST == 0:
                outbox.put({"type": "answer", "number": number})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(outbox.run(), 0.1)

    asyncio.run(run())
    messages = [json.loads(text) for text in sent]
    assert [one["number"] for one in messages if one["type"] == "answer"] == [MOST * index for index in range(10)]
    assert [one["number"] for one in messages if one["type"] != "answer"] == [10 * MOST - 1] * 2

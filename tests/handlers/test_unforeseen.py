"""What a family's code raises that nobody foresaw: whose fault it is, and that it stays with its request."""

import logging

import numpy as np
import pytest

from handlers.complaints import AT_ONCE, Complaints
from tests.handlers.every import as_json, ask, family, loaded

MODEL = "code_risk"


def request(value: float) -> tuple[bytes, dict[str, str]]:
    first = family(MODEL).good(MODEL)[0]["features"]
    return as_json({"features": {**first, next(iter(first)): value}})


@pytest.mark.parametrize("raised", [KeyError("x"), RecursionError(), MemoryError(), RuntimeError("on purpose")])
def test_what_cannot_be_decoded_is_unreadable_and_its_neighbours_are_answered(
    monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    handler, _ = loaded(MODEL)
    decode = handler.decode

    def trips(fields: dict[str, dict[str, float]]) -> object:
        if 13 in fields["features"].values():
            raise raised
        return decode(fields)

    monkeypatch.setattr(handler, "decode", trips)
    answers = ask(MODEL, request(1), request(13), request(2))
    assert [status for status, _ in answers] == [200, 592, 200]
    assert answers[1][1]["error"]["code"] == "unreadable"
    assert "purpose" not in str(answers[1])


def test_what_cannot_be_prepared_is_unreadable_and_what_fails_later_is_our_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, _ = loaded(MODEL)
    prepare, run = handler.prepare, handler.engine.run

    def trips(items: list[np.ndarray]) -> dict[str, np.ndarray]:
        if any(item[0] == 13 for item in items):
            raise ValueError("13")
        return prepare(items)

    def fails(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if (inputs["features"][:, 0] == 14).any():
            raise ValueError("14")
        return run(inputs)

    monkeypatch.setattr(handler, "prepare", trips)
    monkeypatch.setattr(handler.engine, "run", fails)
    answers = ask(MODEL, *(request(value) for value in (1, 13, 2, 14, 3)))
    assert [status for status, _ in answers] == [200, 592, 200, 590, 200]


def test_no_client_fills_a_disk_with_what_it_makes_fail(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logging.getLogger("complaints"))
    for _ in range(1000):
        try:
            raise ValueError("again")
        except ValueError:
            complaints.log("a request failed")
    assert len(caplog.records) == AT_ONCE
    complaints._room = 1.0
    try:
        raise ValueError("again")
    except ValueError:
        complaints.log("a request failed")
    assert f"({1000 - AT_ONCE} before it are not shown)" in caplog.records[-1].message

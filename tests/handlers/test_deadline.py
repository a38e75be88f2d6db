import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.deadline import Deadline
from tests.handlers.every import as_json, ask_whole, family, loaded

MODEL = "code_risk"
NOW = 1_764_169_668.0


@pytest.mark.parametrize(
    "received", [None, "", "soon", "nan", "inf", "-inf", f"{NOW + 5}", f"{NOW - 21}", f"{NOW - 9}"]
)
def test_a_request_in_time_or_without_a_readable_time_is_never_missed(received: str | None) -> None:
    assert Deadline(10.0).missed(received, NOW) is None


@given(waited_s=st.floats(10.001, 19.999))
def test_a_request_that_waited_longer_than_it_may_is_missed(waited_s: float) -> None:
    found = Deadline(10.0).missed(f"{NOW - waited_s:.3f}", NOW)
    assert found is not None and math.isclose(found, waited_s, abs_tol=0.01)


@pytest.mark.parametrize("asked", ["", "0", "-3", "soon"])
def test_no_time_limit_is_no_deadline(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_REQUEST_TIMEOUT_S", asked)
    assert Deadline.from_environment().missed(f"{NOW - 1000}", NOW) is None


def test_what_cannot_be_ready_in_time_is_missed_too_and_an_estimate_that_is_too_high_comes_down() -> None:
    deadline = Deadline(10.0)
    late = f"{NOW - 9.5}"
    assert deadline.missed(late, NOW) is None
    for _ in range(100):
        deadline.took(60.0)
    assert deadline.missed(late, NOW) is not None
    assert deadline.missed(f"{NOW - 4.9}", NOW) is None, "half of the time limit is always left"
    for _ in range(100):
        deadline.took(0.0)
    assert deadline.missed(late, NOW) is None


def test_an_expired_request_is_never_looked_at_and_its_neighbours_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, _ = loaded(MODEL)
    monkeypatch.setattr(handler, "_deadline", Deadline(10.0))
    monkeypatch.setattr("handlers.base.time.time", lambda: NOW)
    looked_at = []
    decode = handler.decode

    def noted(fields: Any) -> Any:
        looked_at.append(fields)
        return decode(fields)

    monkeypatch.setattr(handler, "decode", noted)
    good = as_json(family(MODEL).good(MODEL)[0])
    late = (b"never read", {**good[1], "X-Received": f"{NOW - 12:.3f}"})
    early = (good[0], {**good[1], "X-Received": f"{NOW - 8:.3f}"})
    answers = ask_whole(MODEL, late, early, good, late)
    assert [one.status for one in answers] == [503, 200, 200, 503]
    assert len(looked_at) == 2
    for one in (answers[0], answers[3]):
        assert one.body["error"]["code"] == "expired" and "12.0 s" in one.body["error"]["message"]
        assert one.headers == {"X-Expired": "1"}
    assert answers[1].headers == {}

"""Little and evenly while it keeps up; more where much waits; never starved, never idle for nothing."""

import pytest

from marina.events.pace import AT_ONCE, IDLE_S, NAP_S, REST, STEP_S, Pace

LIMIT = 1_000_000


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []
    monkeypatch.setattr("marina.events.pace.time.sleep", seen.append)
    return seen


def worked(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> Pace:
    """Return a pace whose steps take so much processor time."""
    clock = iter([0.0, *(sum(seconds[: number + 1]) for number in range(len(seconds)))])
    monkeypatch.setattr("marina.events.pace.time.thread_time", lambda: next(clock))
    return Pace(LIMIT)


def test_it_rests_several_times_as_long_as_it_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    one = worked(monkeypatch, 0.001, 0.001, 0.1, 0.001)
    assert one.rest_s(found=True, waiting_bytes=0, behind=False) == STEP_S
    assert one.rest_s(found=True, waiting_bytes=10, behind=True) == pytest.approx(0.001 * REST)
    assert one.rest_s(found=True, waiting_bytes=0, behind=False) == pytest.approx(0.1 * REST)
    assert one.rest_s(found=False, waiting_bytes=0, behind=False) == IDLE_S


def test_where_much_waits_it_works_half_of_the_time_and_where_too_much_all_of_it(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    one = worked(monkeypatch, 0.01, 0.01)
    assert one.rest_s(found=True, waiting_bytes=LIMIT // 4, behind=True) == pytest.approx(0.01)
    assert len(list(one.evenly([b""] * 3 * AT_ONCE))) == 3 * AT_ONCE
    assert slept == []
    assert one.rest_s(found=True, waiting_bytes=LIMIT - 1, behind=True) == 0


def test_lines_come_with_naps_between(slept: list[float]) -> None:
    lines = [b"%d" % number for number in range(3 * AT_ONCE + 1)]
    assert list(Pace(LIMIT).evenly(lines)) == lines
    assert slept == [NAP_S] * 3

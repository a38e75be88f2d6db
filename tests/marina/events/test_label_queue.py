"""Labels of many requests are committed together, in turns, and no source fills the room of others."""

import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from marina.events import label_queue
from marina.events.label_queue import AT_MOST, MOST_WAITING, FullError, LabelQueue
from marina.events.labels import Label, Outcome


class Desk:
    """Takes labels as a database does, as long as it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.taken: list[Sequence[Label]] = []
        self.fault: Exception | None = None

    def __call__(self, labels: Sequence[Label]) -> list[Outcome]:
        self.taken.append(labels)
        assert self.open.wait(30)
        if self.fault:
            raise self.fault
        return ["early" if one.label == "early" else "recorded" for one in labels]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(label_queue, "PAUSE_S", 0.01)
    return Desk()


def some(count: int, source: str, label: str = "cat") -> list[Label]:
    return [Label(f"r{number}", label, 0, source) for number in range(count)]


def taken_at_once(desk: Desk, queue: LabelQueue) -> None:
    """Let the thread take a label, so that what comes now waits for its end."""
    queue.put("first", some(1, "first"))
    while not desk.taken:
        time.sleep(0.001)


def test_what_comes_during_a_transaction_goes_into_one(desk: Desk) -> None:
    queue = LabelQueue(desk)
    taken_at_once(desk, queue)
    posts = [queue.put(f"{number % 3}", some(2, "x", "early" if number == 7 else "cat")) for number in range(20)]
    desk.open.set()
    assert [Counter(post.result(30)) for post in posts] == [
        Counter({"early" if number == 7 else "recorded": 2}) for number in range(20)
    ]
    assert [len(labels) for labels in desk.taken] == [1, 40]


def test_a_flood_takes_turns_with_others(desk: Desk) -> None:
    queue = LabelQueue(desk)
    taken_at_once(desk, queue)
    flood = [queue.put("flood", some(1000, "flood")) for _ in range(5)]
    other = queue.put("other", some(3, "other"))
    desk.open.set()
    assert other.result(30) == ["recorded"] * 3
    assert not flood[1].done()
    assert [post.result(30) for post in flood] == [["recorded"] * 1000] * 5
    assert max(len(labels) for labels in desk.taken) <= AT_MOST


def test_more_than_its_part_of_the_room_is_refused_and_others_still_have_theirs(desk: Desk) -> None:
    queue = LabelQueue(desk)
    taken_at_once(desk, queue)
    part = MOST_WAITING // 2
    for source in ("a", "b"):
        kept = [queue.put(source, some(part // 6, source)) for _ in range(6)]
        with pytest.raises(FullError):
            queue.put(source, some(1, source))
    with pytest.raises(FullError):
        queue.put("c", some(1, "c"))
    desk.open.set()
    assert kept[-1].result(30)
    assert queue.put("a", some(1, "a")).result(30) == ["recorded"]
    assert not queue._waiting.total()


def test_an_error_is_told_to_whom_it_concerns_and_nobody_else(desk: Desk) -> None:
    queue = LabelQueue(desk)
    taken_at_once(desk, queue)
    desk.fault = OSError("away")
    large = queue.put("a", some(1000, "a"))
    desk.open.set()
    with pytest.raises(OSError, match="away"):
        large.result(30)
    desk.fault = None
    assert queue.put("a", some(2, "a")).result(30) == ["recorded"] * 2
    assert not queue._waiting.total()


def test_after_a_transaction_it_rests_for_several_times_as_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("marina.events.label_queue.time.sleep", slept.append)
    queue = LabelQueue(desk)
    taken = queue.put("a", some(1, "a"))
    threading.Event().wait(0.1)
    desk.open.set()
    taken.result(30)
    while not slept:
        threading.Event().wait(0.001)
    assert 0.4 <= slept[0] <= 1.0

"""Sessions: how many, how long, and what one keeps."""

from __future__ import annotations

import numpy as np
import pytest

from marina.products.live.frames import MESSAGE_BYTES, MOST_FRAMES, Frame, Ring, pack, unpack
from marina.products.live.session import KEPT_ANSWERS, FullError, Session, Sessions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_frame_comes_back_as_it_was_packed() -> None:
    landmarks = np.linspace(-1, 1, 225).astype(np.float16)
    message = pack(7, 1.25, landmarks)
    frame = unpack(message)
    assert len(message) == MESSAGE_BYTES == 462
    assert (frame.number, frame.at) == (7, 1.25) and (frame.landmarks == landmarks).all()


def test_a_ring_keeps_the_newest_frames_and_no_more() -> None:
    ring = Ring()
    for number in range(3 * MOST_FRAMES):
        ring.add(Frame(number, number / 30, np.full(225, number % 7, np.float16)))
        assert not ring.add(Frame(number, number / 30, np.zeros(225, np.float16)))
    kept = ring.since(0.0)
    assert kept.shape == (MOST_FRAMES, 225) and ring.received == 3 * MOST_FRAMES - 1
    assert len(ring.since(ring.received / 30)) == 1


def test_a_clock_that_is_set_back_stands_still() -> None:
    session = Session()
    for number, at in enumerate((5.0, 1.0, 2.0, 5.1)):
        session.take(Frame(number, at, np.zeros(225, np.float16)))
    assert session.received == 3


def test_a_lost_session_is_kept_for_a_while_and_gives_way_where_there_is_no_room() -> None:
    clock = Clock()
    sessions = Sessions(2, 30, clock)
    one, two = sessions.open()[0], sessions.open()[0]
    with pytest.raises(FullError, match="all 2 live sessions"):
        sessions.open()
    sessions.leave(one)
    assert sessions.open(one.id) == (one, True)
    sessions.leave(one)
    three, resumed = sessions.open()
    assert not resumed and sessions.connected == 2 and len(sessions._all) == 2
    sessions.leave(two)
    clock.now = 31
    assert sessions.open(two.id)[1] is False
    assert three.id != two.id != one.id


def test_an_answer_that_was_missed_is_sent_again_and_no_other() -> None:
    session = Session()
    for _ in range(2 * KEPT_ANSWERS):
        session.keep({"type": "answer"})
    assert [answer["number"] for answer in session.missed(2 * KEPT_ANSWERS - 2)] == [31, 32]
    assert len(session.missed(0)) == KEPT_ANSWERS

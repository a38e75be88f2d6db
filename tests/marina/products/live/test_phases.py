"""The state machine: what begins a sign, what ends it, and what does neither."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.products.live.demo_stream import stream
from marina.products.live.frames import Frame
from marina.products.live.motion import Motion
from marina.products.live.phases import OVER, Event, Machine, Phase, Rules, advance, answered
from marina.products.live.session import Session
from training.signflow.synthetic.signing import Synthesis, generate

RULES = Rules()
STEP_S = 1 / 30
AFTER = {
    Phase.IDLE: {Phase.IDLE, Phase.RECORDING},
    Phase.RECORDING: {Phase.RECORDING, Phase.INFERRING, Phase.IDLE},
    Phase.INFERRING: {Phase.INFERRING},
}
Seen = tuple[bool, float]

seen = st.tuples(st.booleans(), st.floats(0, 5))
"""Whether a hand is in view, and how fast it is."""


def run(frames: list[Seen], step_s: float = STEP_S, rules: Rules = RULES) -> list[tuple[Machine, Event | None]]:
    """Return the machine and the event after each frame."""
    machine, passed = Machine(), []
    for index, (hand, speed) in enumerate(frames):
        machine, event = advance(machine, Motion(index * step_s, hand, speed if hand else 0.0), rules)
        passed.append((machine, event))
    return passed


def events(frames: list[Seen]) -> list[Event]:
    return [event for _, event in run(frames) if event is not None]


GONE: list[Seen] = [(False, 0.0)] * 15
STILL: list[Seen] = [(True, 0.05)] * 30
MOVING: list[Seen] = [(True, 1.5)] * 20


@settings(deadline=None)
@given(st.lists(seen, max_size=200), st.sampled_from([1 / 60, 1 / 30, 1 / 15, 1 / 5]))
def test_a_phase_follows_only_the_one_before_it(frames: list[Seen], step_s: float) -> None:
    phases = [Phase.IDLE, *(machine.phase for machine, _ in run(frames, step_s))]
    assert all(after in AFTER[before] for before, after in pairwise(phases))


@settings(deadline=None)
@given(st.lists(seen, max_size=200), st.sampled_from([1 / 60, 1 / 30, 1 / 15]))
def test_a_change_of_phase_is_an_event_and_nothing_else_is(frames: list[Seen], step_s: float) -> None:
    passed = run(frames, step_s)
    phases = [Phase.IDLE, *(machine.phase for machine, _ in passed)]
    changed = [before != after for before, after in pairwise(phases)]
    assert changed == [event is not None for _, event in passed]


@settings(deadline=None)
@given(st.lists(st.tuples(st.just(True), st.floats(0.31, 5)), min_size=1, max_size=400))
def test_no_recording_is_longer_than_three_seconds(frames: list[Seen]) -> None:
    for index, (machine, event) in enumerate(run(frames)):
        if machine.phase is Phase.RECORDING or event is Event.LONGEST:
            assert index * STEP_S - machine.begun < RULES.longest_s + STEP_S


@settings(deadline=None)
@given(st.lists(st.tuples(st.just(False), st.floats(0, 5)), max_size=100))
def test_without_a_hand_nothing_begins(frames: list[Seen]) -> None:
    assert events(frames) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.69), max_size=200))
def test_a_hand_that_only_trembles_begins_nothing_but_its_appearance(speeds: list[float]) -> None:
    """A sign that ended by rest is followed by none until something moves."""
    frames = [*GONE, *MOVING, *STILL]
    machine = answered(run(frames)[-1][0])
    at = len(frames) * STEP_S
    for index, speed in enumerate(speeds):
        machine, event = advance(machine, Motion(at + index * STEP_S, True, speed))
        assert event is None and machine.phase is Phase.IDLE


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 19))
def test_one_frame_begins_nothing_and_one_lost_frame_ends_nothing(at: int, lost: int) -> None:
    alone: list[Seen] = [(False, 0.0)] * 30
    alone[at] = (True, 4.0)
    assert events(alone) == []
    moving = [*MOVING]
    moving[lost] = (False, 0.0)
    assert not OVER & {*events([*GONE, *moving])}


@settings(deadline=None)
@given(st.lists(seen, max_size=100))
def test_equal_frames_have_equal_outcomes(frames: list[Seen]) -> None:
    assert run(frames) == run([*frames])


@settings(deadline=None)
@given(st.floats(0.31, 0.69))
def test_what_neither_moves_nor_rests_changes_nothing(speed: float) -> None:
    """Hysteresis: the speed between the thresholds ends no sign that has begun, and begins none."""
    between: list[Seen] = [(True, speed)] * 60
    assert events([*GONE, *MOVING, *between]) == [Event.BEGUN]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([*GONE, *MOVING, *GONE], [Event.BEGUN, Event.GONE]),
        ([*GONE, *MOVING, *STILL], [Event.BEGUN, Event.REST]),
        ([*GONE, *MOVING * 6], [Event.BEGUN, Event.LONGEST]),
        ([*GONE, *STILL, *STILL], [Event.BEGUN, Event.REST]),
        ([*GONE, *MOVING[:6], *GONE], [Event.BEGUN, Event.DROPPED]),
    ],
    ids=["gone", "rest", "longest", "held still", "too short"],
)
def test_how_a_sign_ends(frames: list[Seen], expected: list[Event]) -> None:
    assert events(frames) == expected


def test_a_hand_in_view_that_moves_for_a_moment_is_no_sign() -> None:
    machine = answered(run([*GONE, *MOVING, *STILL])[-1][0])
    at, happened = 65 * STEP_S, []
    for index, speed in enumerate([1.0] * 6 + [0.0] * 30):
        machine, event = advance(machine, Motion(at + index * STEP_S, True, speed))
        happened += [event] if event else []
    assert happened == [Event.BEGUN, Event.DROPPED] and machine.phase is Phase.IDLE


def test_while_an_answer_is_awaited_nothing_begins() -> None:
    frames = [*GONE, *MOVING, *GONE]
    assert events([*frames, *MOVING, *GONE]) == events(frames)


def test_signs_that_are_performed_are_found_whole() -> None:
    """Of 24 signs, each between hands out of view, each is one recording, from its beginning to its end."""
    clips = generate(Synthesis(signs=24, signers=2, takes=1, seed=3))
    whole = 0
    for sequence in clips.sequences:
        session = Session()
        for number, landmarks in enumerate(stream([sequence])):
            if session.take(Frame(number, number * STEP_S, landmarks)) in OVER:
                recorded = session.recorded()
                middle = sequence[2:-2].astype(np.float16).astype(np.float32)
                whole += len(recorded) >= len(sequence) and bool((recorded == middle[0]).all(1).any())
                break
    assert whole >= 0.9 * len(clips.sequences)

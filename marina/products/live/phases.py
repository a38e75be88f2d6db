"""When a sign begins and when it is over: a pure state machine, IDLE → RECORDING → INFERRING → IDLE.

`advance(machine, motion, rules)` returns the machine after one more frame and what happened. It begins to record when a
hand appears and stays, or when a hand in view moves; it is over when the hand has been gone or at rest for a while, or
after three seconds. A hand must be faster to begin than it must be slow to end (hysteresis), each for some time: so
neither a tremble nor a lost frame does either. What was too short is dropped. While an answer is awaited nothing
begins; the frames of that time are in the ring, and what begins then is recorded from its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from marina.products.live.motion import Motion


class Phase(StrEnum):
    """What a session does."""

    IDLE = "IDLE"
    RECORDING = "RECORDING"
    INFERRING = "INFERRING"


class Event(StrEnum):
    """What a frame brought about."""

    BEGUN = "begun"
    DROPPED = "dropped"
    GONE = "gone"
    REST = "rest"
    LONGEST = "longest"


OVER: Final = frozenset({Event.GONE, Event.REST, Event.LONGEST})
"""Events after which a sign is asked about."""


@dataclass(frozen=True)
class Rules:
    """Speeds in shoulder widths a second, times in seconds.

    Attributes
    ----------
    moving, resting
        A hand at least as fast begins a sign; one no faster is at rest. What lies between changes nothing.
    confirm_s
        For how long a hand moves, or is in view after it was not, until a sign begins.
    rest_s, gone_s
        After how long at rest, or out of view, it is over.
    shortest_s, longest_s
        What is shorter is no sign; what is as long is over.
    before_s
        How much is taken from before it began, so that the first posture is there.
    """

    moving: float = 0.7
    resting: float = 0.3
    confirm_s: float = 0.1
    rest_s: float = 0.5
    gone_s: float = 0.3
    shortest_s: float = 0.25
    longest_s: float = 3.0
    before_s: float = 0.35


class Machine(NamedTuple):
    """Where a session is.

    Attributes
    ----------
    phase
        What it does.
    begun
        When what is being recorded, or asked about, began.
    stirred
        Since when what could begin a sign has lasted; None where nothing does.
    seen, lively
        When a hand was last in view, and when one was last faster than at rest.
    absent
        Whether no hand has been in view for `Rules.gone_s` since the last sign.
    appeared
        Whether it began with a hand that came into view: a sign that is held still counts then.
    """

    phase: Phase = Phase.IDLE
    begun: float = 0.0
    stirred: float | None = None
    seen: float = float("-inf")
    lively: float = float("-inf")
    absent: bool = True
    appeared: bool = False


def advance(machine: Machine, motion: Motion, rules: Rules = Rules()) -> tuple[Machine, Event | None]:
    """Return the machine after a frame, and what that brought about.

    Parameters
    ----------
    motion
        Of the frame; its time is not before that of the last one.
    """
    machine = machine._replace(
        seen=motion.at if motion.hand else machine.seen,
        lively=motion.at if motion.speed > rules.resting else machine.lively,
        absent=machine.absent or motion.at - machine.seen >= rules.gone_s,
    )
    if machine.phase is Phase.RECORDING:
        return _record(machine, motion, rules)
    if machine.phase is Phase.INFERRING:
        return machine, None
    stirs = motion.hand and (machine.absent or motion.speed >= rules.moving)
    if not stirs:
        return machine._replace(stirred=None), None
    stirred = motion.at if machine.stirred is None else machine.stirred
    if motion.at - stirred < rules.confirm_s:
        return machine._replace(stirred=stirred), None
    begun = machine._replace(
        phase=Phase.RECORDING,
        begun=stirred,
        stirred=None,
        lively=motion.at,
        absent=False,
        appeared=machine.absent,
    )
    return begun, Event.BEGUN


def _record(machine: Machine, motion: Motion, rules: Rules) -> tuple[Machine, Event | None]:
    if motion.at - machine.seen >= rules.gone_s:
        over, end = Event.GONE, machine.seen
    elif motion.at - machine.lively >= rules.rest_s:
        over, end = Event.REST, motion.at if machine.appeared else machine.lively
    elif motion.at - machine.begun >= rules.longest_s:
        over, end = Event.LONGEST, motion.at
    else:
        return machine, None
    if end - machine.begun < rules.shortest_s:
        return machine._replace(phase=Phase.IDLE), Event.DROPPED
    return machine._replace(phase=Phase.INFERRING), over


def answered(machine: Machine) -> Machine:
    """Return the machine once what it asked about has its answer, or gets none."""
    return machine._replace(phase=Phase.IDLE, stirred=None)

"""The states of one version in TorchServe, without any I/O: what was observed goes in, what is to be done comes out.

::

                     Register          own example answered
    waiting ───────────────▶ loading ───────────────▶ ready
       ▲                      │    ▲                    │ no worker, or new workers needed
       │ not in TorchServe    │    └────────────────────┤
       ├──────────────────────┴─────────────────────────┘
       │                      └──▶ refused   its workers fail to load it, or its own example fails
    draining ◀── any state, once it is no longer desired; forgotten when no client can be waiting for it

`step` is the whole of it. `marina.serving.reconciler` performs the actions; what an action finds out is observed in
turn, so a version enters a state only after the action that this depends on has succeeded.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from marina.releases.declarations import Declared
from marina.serving.torchserve_client import Status
from marina.serving.version_events import (
    Action,
    ArchiveChecked,
    ArchiveLost,
    AskExample,
    CheckArchive,
    CloseRoute,
    Describe,
    Desired,
    DivideTraffic,
    ExampleAsked,
    Forget,
    Log,
    MarkRefused,
    NotDesired,
    NotRegistered,
    Observed,
    OpenRoute,
    PollEnded,
    PollStarted,
    PrioritySet,
    RefusalSearched,
    Refused,
    Register,
    Registered,
    Reject,
    RequestsTaken,
    RestartWorkers,
    RouteOpened,
    Scale,
    SearchRefusal,
    ServerLost,
    SetPriority,
    StartLimit,
    Unregister,
    WorkersRestarted,
)

HUNG_S = 30.0
RETRY_S = 2.0  # a version that could not be registered for want of room is left alone for this long
FAILED_EXAMPLES = 3  # times an archive's own example may fail before the version is refused


class State(StrEnum):
    """Where a version is; the values are written to the database."""

    WAITING = "waiting"  # to be registered
    LOADING = "loading"  # registered; no traffic before a worker is ready and has answered the version's own example
    READY = "ready"
    REFUSED = "refused"
    DRAINING = "draining"  # no longer desired: requests in flight are answered, then it is unregistered


@dataclass(frozen=True)
class Version:
    """What is known about one version; times are in seconds, on a clock that is never set, None for never.

    Attributes
    ----------
    declared
        What should run.
    request_timeout_s
        Time limit of a request.
    log_start
        Where the worker log ended when it was registered, in bytes.
    all_ready_at, any_ready_at
        When all of its workers, or at least one of them, were last ready.
    verified
        It has been ready before: failing to load now is no fault of the archive.
    draining_since
        When it was no longer desired.
    warm_ups
        How often its own example was answered since it was last closed.
    failed_examples
        How often that failed, before it was ever ready.
    pids
        Of its workers that had loaded, when they were last polled.
    queued
        Requests that waited then.
    example_s
        The shortest time in which its own example was answered.
    taken
        Requests that its workers have taken, as far as that is known.
    reason
        Why it is refused, or not loaded.
    retry_at
        When it may be registered again.
    archive_checked
        Its archive was verified since it was last registered.
    """

    declared: Declared
    request_timeout_s: float
    state: State = State.WAITING
    log_start: int = 0
    all_ready_at: float | None = None
    any_ready_at: float | None = None
    verified: bool = False
    draining_since: float | None = None
    warm_ups: int = 0
    failed_examples: int = 0
    pids: tuple[int, ...] = ()
    queued: int = 0
    example_s: float | None = None
    taken: float = 0.0
    reason: str = ""
    retry_at: float | None = None
    archive_checked: bool = True

    def occupies_cores(self, now: float) -> bool:
        """Whether its workers are busy loading it, as far as can be said."""
        return self.state is State.LOADING and not _has_passed(self.all_ready_at, HUNG_S, now)


Next = tuple[Version, tuple[Action, ...]]


def step(version: Version, observed: Observed, now: float) -> Next:  # noqa: PLR0912 - a case for each observation
    """Take one observation into account.

    Parameters
    ----------
    now
        In seconds, on the clock of the version's times.

    Returns
    -------
    Version
        What is known now.
    tuple of Action
        What is to be done, in this order; one that fails ends the list, and the next poll continues from there.
    """
    match observed:
        case Desired(weight, input_share, workers):
            serving = replace(version.declared.serving, workers=workers or version.declared.serving.workers)
            declared = replace(
                version.declared, weight=weight, input_share=input_share, workers=workers, serving=serving
            )
            state = State.WAITING if version.state is State.DRAINING else version.state
            return replace(version, declared=declared, state=state), ()
        case NotDesired():
            if version.state is State.DRAINING:
                return version, ()
            return replace(version, state=State.DRAINING, draining_since=now), ()
        case ServerLost():
            if version.state is State.DRAINING:
                return version, (Forget(),)
            if version.state is State.REFUSED:
                return version, ()
            return replace(version, state=State.WAITING, pids=(), taken=0.0, archive_checked=False), ()
        case PollStarted(may_load):
            return _poll(version, may_load, now)
        case PollEnded():
            return _check_restarts(version, now)
        case ArchiveChecked(declared):
            return replace(version, declared=declared, archive_checked=True), (Register(),)
        case ArchiveLost(reason):
            return _postpone(version, reason, now + HUNG_S)
        case Registered(log_start):
            loading = replace(version, state=State.LOADING, log_start=log_start, warm_ups=0, all_ready_at=now)
            return loading, (Describe(),)
        case NotRegistered(reason, no_room):
            unchecked = replace(version, archive_checked=False)
            if version.verified or no_room:
                return _postpone(unchecked, reason + no_room, now + RETRY_S)
            return unchecked, (Reject(reason),)
        case Status():
            return _take_status(version, observed, now)
        case RefusalSearched(refusal):
            return version, () if refusal is None else (Reject(refusal),)
        case ExampleAsked(failure, example_s):
            return _take_example(version, failure, example_s)
        case PrioritySet(done):
            if done:
                return version, (OpenRoute(),)
            closed, actions = _close(version, State.LOADING)
            return closed, (*actions, RestartWorkers())
        case RouteOpened():
            return _admit(version, now)
        case WorkersRestarted():
            return replace(version, all_ready_at=now), ()
        case Refused(reason):
            return replace(version, state=State.REFUSED, reason=reason), (DivideTraffic(), MarkRefused())
        case RequestsTaken(count):
            if count <= version.taken:
                return version, ()
            # A worker that is killed again and again is seen between its deaths by this alone.
            return replace(version, any_ready_at=now, taken=count), ()
        case _:
            assert_never(observed)


def _poll(version: Version, may_load: bool, now: float) -> Next:
    match version.state:
        case State.WAITING:
            if not may_load or (version.retry_at is not None and now < version.retry_at):
                return version, ()
            return version, (Register() if version.archive_checked else CheckArchive(),)
        case State.DRAINING:
            # A request is answered within its time limit: after that no client can be waiting.
            drained = _has_passed(version.draining_since, version.request_timeout_s, now)
            return version, (CloseRoute(), Describe()) if drained else (CloseRoute(),)
        case State.REFUSED:
            return version, ()
        case State.LOADING | State.READY:
            return version, (Describe(),)


def _take_status(version: Version, status: Status, now: float) -> Next:
    if version.state is State.DRAINING:
        if status.queued:
            return version, ()
        return version, (Unregister(), Forget(), Log(f"{version.declared} is removed"))
    version = replace(version, pids=status.ready_pids, queued=status.queued)
    if status.state == "absent":
        return _close(replace(version, archive_checked=False), State.WAITING)
    if status.state == "ready":
        all_ready_at = now if status.ready_workers >= status.workers else version.all_ready_at
        version = replace(version, any_ready_at=now, all_ready_at=all_ready_at)
        scale = () if status.configured in (None, status.workers) else (Scale(),)
        if version.state is State.LOADING:
            return version, (*scale, *_warm_up(version))
        declared = version.declared
        return version, (*scale, SetPriority(declared.weight == 0 and declared.input_share > 0, status.pids))
    if version.state is State.LOADING:
        return version, () if version.verified else (SearchRefusal(version.log_start),)
    if _has_passed(version.any_ready_at, version.request_timeout_s / 2, now):
        return _close(version, State.LOADING)  # better 503 now than 504 later
    return version, ()


def _warm_up(version: Version) -> tuple[Action, ...]:
    """Ask a version its own example, once for each worker, then let traffic through."""
    if version.declared.example and version.warm_ups < version.declared.serving.workers:
        return (AskExample(),)
    return (StartLimit(version.example_s), OpenRoute())


def _take_example(version: Version, failure: str, example_s: float | None) -> Next:
    times = [time_s for time_s in (version.example_s, example_s) if time_s is not None]
    version = replace(version, example_s=min(times, default=None))
    if failure and not version.verified:  # what has served before serves again, if slowly at first
        version = replace(version, failed_examples=version.failed_examples + 1)
        if version.failed_examples < FAILED_EXAMPLES:
            return version, ()
        return version, (Reject(f"its own example fails {FAILED_EXAMPLES} times, the last answer: {failure}"),)
    version = replace(version, warm_ups=version.warm_ups + 1)
    return version, () if version.warm_ups < version.declared.serving.workers else _warm_up(version)


def _admit(version: Version, now: float) -> Next:
    if version.state is not State.LOADING:
        return version, ()
    ready = replace(version, state=State.READY, verified=True, all_ready_at=now, failed_examples=0, reason="")
    return ready, (DivideTraffic(),)


def _close(version: Version, state: State) -> Next:
    """Let a version have no traffic before it is ready, and warm, again."""
    return replace(version, state=state, warm_ups=0), (CloseRoute(), DivideTraffic())


def _postpone(version: Version, reason: str, retry_at: float) -> Next:
    reason = f"{version.declared} cannot be loaded just now, and is tried again: {reason}"
    actions = () if reason == version.reason else (Log(reason),)
    return replace(version, reason=reason, retry_at=retry_at), actions


def _check_restarts(version: Version, now: float) -> Next:
    """Restart the workers of a version that TorchServe has given up on, which it does for good and never reports."""
    patience_s = version.declared.serving.max_retry_timeout_s + HUNG_S
    registered = version.state in (State.LOADING, State.READY)
    if not (registered and version.verified and _has_passed(version.all_ready_at, patience_s, now)):
        return version, ()
    message = f"{version.declared}: TorchServe no longer restarts its workers; giving it new ones"
    return version, (Log(message), RestartWorkers())


def _has_passed(since: float | None, seconds: float, now: float) -> bool:
    return since is None or now - since > seconds

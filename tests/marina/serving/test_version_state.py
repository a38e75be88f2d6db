"""A version takes traffic only when it is ready, drains before it goes, and comes back when TorchServe does."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from marina.releases.declarations import Declared, Serving
from marina.serving import version_events as events
from marina.serving.torchserve_client import Status
from marina.serving.traffic_split import find_stand_ins, split_traffic
from marina.serving.version_state import FAILED_EXAMPLES, HUNG_S, RETRY_S, State, Version, step

TIMEOUT_S, NOW = 10.0, 1000.0
DECLARED = Declared("sums", "1.0", Path("sums-1.0.mar"), "1" * 64, serving=Serving(workers=2), example=b"{}")
ALL = Status("ready", workers=2, ready_workers=2, pids=(1, 2), ready_pids=(1, 2))
NONE = Status("loading", workers=2)


def version(state: State = State.WAITING, **changes: object) -> Version:
    served = {"verified": True, "all_ready_at": NOW, "any_ready_at": NOW} if state is State.READY else {}
    return replace(Version(DECLARED, TIMEOUT_S, state), **(served | changes))  # type: ignore[arg-type]


READY, LOADING = version(State.READY), version(State.LOADING, all_ready_at=NOW)


def test_a_version_waits_for_cores_then_is_registered() -> None:
    assert step(version(), events.PollStarted(may_load=False), NOW) == (version(), ())
    assert step(version(), events.PollStarted(may_load=True), NOW) == (version(), (events.Register(),))
    loading, actions = step(version(), events.Registered(log_start=7), NOW)
    assert (loading.state, loading.log_start, actions) == (State.LOADING, 7, (events.Describe(),))
    assert loading.occupies_cores(NOW + 1)
    assert not loading.occupies_cores(NOW + HUNG_S + 1)


def test_traffic_comes_after_the_example_was_answered_once_a_worker() -> None:
    first, actions = step(LOADING, ALL, NOW)
    assert actions == (events.AskExample(),)
    first, actions = step(first, events.ExampleAsked(example_s=0.2), NOW)
    assert (first.warm_ups, actions) == (1, ())
    second, actions = step(first, events.ExampleAsked(example_s=0.3), NOW)
    assert actions == (events.StartLimit(0.2), events.OpenRoute())
    assert second.state is State.LOADING
    ready, actions = step(second, events.RouteOpened(), NOW + 1)
    assert (ready.state, ready.verified, ready.all_ready_at) == (State.READY, True, NOW + 1)
    assert actions == (events.DivideTraffic(),)
    assert step(ready, events.RouteOpened(), NOW + 2) == (ready, ())


def test_a_version_without_an_example_is_opened_when_a_worker_is_ready() -> None:
    plain = replace(LOADING, declared=replace(DECLARED, example=b""))
    assert step(plain, ALL, NOW)[1] == (events.StartLimit(None), events.OpenRoute())


def test_a_version_is_refused_when_its_own_example_fails_three_times() -> None:
    loading = LOADING
    for _ in range(FAILED_EXAMPLES - 1):
        loading, actions = step(loading, events.ExampleAsked("500 no"), NOW)
        assert actions == ()
    loading, actions = step(loading, events.ExampleAsked("500 no"), NOW)
    assert actions == (events.Reject("its own example fails 3 times, the last answer: 500 no"),)
    refused, actions = step(loading, events.Refused("no"), NOW)
    assert (refused.state, refused.reason) == (State.REFUSED, "no")
    assert actions == (events.DivideTraffic(), events.MarkRefused())
    for nothing in (
        events.PollStarted(may_load=True),
        events.PollEnded(),
        events.ServerLost(),
        events.Desired(1.0, 0.0),
    ):
        assert step(refused, nothing, NOW + 1000) == (refused, ())


def test_a_verified_version_is_not_refused() -> None:
    verified = replace(LOADING, verified=True)
    assert step(verified, NONE, NOW)[1] == ()
    assert step(LOADING, NONE, NOW)[1] == (events.SearchRefusal(0),)
    assert step(LOADING, events.RefusalSearched(None), NOW)[1] == ()
    assert step(LOADING, events.RefusalSearched("golden input 3"), NOW)[1] == (events.Reject("golden input 3"),)
    slow, actions = step(verified, events.ExampleAsked("504"), NOW)
    assert (slow.warm_ups, actions) == (1, ())
    again, (line,) = step(verified, events.NotRegistered("404"), NOW)
    assert again.retry_at == NOW + RETRY_S
    assert isinstance(line, events.Log)
    assert step(again, events.NotRegistered("404"), NOW)[1] == ()  # it is said once


def test_a_version_that_has_no_room_is_tried_again() -> None:
    later, actions = step(version(), events.NotRegistered("500", ". /run is full"), NOW)
    assert actions == (events.Log("sums 1.0 cannot be loaded just now, and is tried again: 500. /run is full"),)
    assert step(later, events.PollStarted(may_load=True), NOW + 1)[1] == ()
    assert step(later, events.PollStarted(may_load=True), NOW + RETRY_S)[1] == (events.CheckArchive(),)
    assert step(version(), events.NotRegistered("404"), NOW)[1] == (events.Reject("404"),)


def test_an_archive_is_checked_before_it_is_registered_again() -> None:
    lost, _ = step(READY, events.ServerLost(), NOW)
    assert lost.state is State.WAITING
    assert step(lost, events.PollStarted(may_load=True), NOW)[1] == (events.CheckArchive(),)
    gone, _ = step(lost, events.ArchiveLost("no such file"), NOW)
    assert gone.retry_at == NOW + HUNG_S
    there, actions = step(gone, events.ArchiveChecked(replace(DECLARED, archive=Path("copy.mar"))), NOW + 60)
    assert (there.declared.archive, actions) == (Path("copy.mar"), (events.Register(),))


def test_a_version_that_torchserve_does_not_know_is_closed_and_registered_again() -> None:
    absent, actions = step(READY, Status("absent"), NOW)
    assert (absent.state, absent.archive_checked) == (State.WAITING, False)
    assert actions == (events.CloseRoute(), events.DivideTraffic())


def test_a_version_without_a_worker_is_closed_after_half_the_time_limit() -> None:
    assert step(READY, NONE, NOW + TIMEOUT_S / 2)[1] == ()
    closed, actions = step(READY, NONE, NOW + TIMEOUT_S / 2 + 0.1)
    assert (closed.state, actions) == (State.LOADING, (events.CloseRoute(), events.DivideTraffic()))
    taking, _ = step(READY, events.RequestsTaken(5.0), NOW + 4)
    assert step(taking, NONE, NOW + TIMEOUT_S / 2 + 0.1)[1] == ()
    assert step(taking, events.RequestsTaken(5.0), NOW + 8)[0] == taking


def test_workers_that_cannot_leave_the_background_are_replaced_without_traffic() -> None:
    shadow = replace(READY, declared=replace(DECLARED, weight=0.0, input_share=0.5))
    assert step(shadow, ALL, NOW)[1] == (events.SetPriority(True, (1, 2)),)
    assert step(READY, ALL, NOW)[1] == (events.SetPriority(False, (1, 2)),)
    assert step(READY, events.PrioritySet(True), NOW)[1] == (events.OpenRoute(),)
    closed, actions = step(READY, events.PrioritySet(False), NOW)
    assert closed.state is State.LOADING
    assert actions == (events.CloseRoute(), events.DivideTraffic(), events.RestartWorkers())


def test_workers_that_torchserve_gave_up_on_are_restarted() -> None:
    late = NOW + DECLARED.serving.max_retry_timeout_s + HUNG_S + 1
    assert step(READY, events.PollEnded(), late - 2)[1] == ()
    _, (_, restart) = step(READY, events.PollEnded(), late)
    assert restart == events.RestartWorkers()
    restarted, _ = step(READY, events.WorkersRestarted(), late)
    assert step(restarted, events.PollEnded(), late + 1)[1] == ()


def test_a_version_that_is_not_desired_is_closed_then_drained_then_removed() -> None:
    draining, actions = step(READY, events.NotDesired(), NOW)
    assert (draining.state, draining.draining_since, actions) == (State.DRAINING, NOW, ())
    assert step(draining, events.NotDesired(), NOW + 5)[0] == draining
    assert step(draining, events.PollStarted(may_load=True), NOW + 5)[1] == (events.CloseRoute(),)
    assert step(draining, events.PollStarted(may_load=True), NOW + 11)[1] == (events.CloseRoute(), events.Describe())
    assert step(draining, replace(ALL, queued=1), NOW + 11)[1] == ()
    assert step(draining, ALL, NOW + 11)[1] == (events.Unregister(), events.Forget(), events.Log("sums 1.0 is removed"))
    assert step(draining, events.ServerLost(), NOW)[1] == (events.Forget(),)
    again, _ = step(draining, events.Desired(3.0, 0.5), NOW)
    assert (again.state, again.declared.weight, again.declared.input_share) == (State.WAITING, 3.0, 0.5)


@pytest.mark.parametrize(
    ("weights", "states", "shares"),
    [
        ((1, 9), ("ready", "ready"), {"2.0": 1, "1.0": 9}),
        ((1, 9), ("loading", "ready"), {"1.0": 9}),  # the others answer for it
        ((1, 9), ("ready", "loading"), {"2.0": 1, "1.0": 9}),  # it has most: nobody answers for it
        ((5, 5), ("loading", "ready"), {"1.0": 5}),  # of equals the oldest has most
        ((0, 1), ("ready", "ready"), {"1.0": 1}),
        ((0, 0), ("ready", "ready"), {}),
    ],
)
def test_what_is_not_ready_leaves_its_share_to_the_version_that_has_most(
    weights: tuple[float, float], states: tuple[str, str], shares: dict[str, float]
) -> None:
    found = [
        Version(replace(DECLARED, version=name, weight=weight), TIMEOUT_S, State(state))
        for name, weight, state in zip(("2.0", "1.0"), weights, states, strict=True)
    ]
    assert dict(split_traffic(found)) == shares
    assert find_stand_ins(found) == {"2.0": "1.0" if states[1] == "ready" else "", "1.0": ""}


FALLIBLE = [
    events.Register,
    events.Describe,
    events.OpenRoute,
    events.RestartWorkers,
    events.Reject,
    events.Unregister,
]


class Failure(Exception):
    """An action fails."""


class World(RuleBasedStateMachine):
    """One version, a TorchServe that fails in all ways, and a gateway."""

    @initialize()
    def start(self) -> None:
        self.now = NOW
        self.version: Version | None = Version(DECLARED, TIMEOUT_S)
        self.desired = True
        self.loads = self.answers = self.room = self.archive_ok = self.priority_ok = True
        self.registered = False
        self.ready_workers = self.queued = 0
        self.open = self.marked_refused = False
        self.admitted = False  # it answered its example since it was registered, or lost its workers, last
        self.closed_at = NOW
        self.registrations: list[State] = []  # the state in which each was made
        self.breaks: type | None = None  # the action that fails

    def observe(self, observed: events.Observed) -> None:
        assert self.version is not None
        self.version, actions = step(self.version, observed, self.now)
        for action in actions:
            if type(action) is self.breaks:
                raise Failure
            result = self.perform(action)
            if result is not None:
                self.observe(result)

    def perform(self, action: events.Action) -> events.Observed | None:  # noqa: PLR0912 - a case for each action
        if isinstance(action, events.DivideTraffic | events.StartLimit | events.Log):
            return None
        assert self.version is not None
        match action:
            case events.CheckArchive():
                return events.ArchiveChecked(self.version.declared) if self.archive_ok else events.ArchiveLost("gone")
            case events.Register():
                assert self.desired
                self.registrations.append(self.version.state)
                if not self.room:
                    return events.NotRegistered("500", ". the disk is full")
                self.registered, self.admitted = True, False
                return events.Registered(0)
            case events.Describe():
                if not self.registered:
                    return Status("absent")
                state = "ready" if self.ready_workers else "loading"
                return Status(state, 2, self.ready_workers, queued=self.queued)  # type: ignore[arg-type]
            case events.SearchRefusal():
                return events.RefusalSearched(None if self.loads else "golden input 3 is off")
            case events.AskExample():
                assert self.ready_workers
                self.admitted = self.admitted or self.answers
                return events.ExampleAsked("" if self.answers else "500")
            case events.SetPriority():
                return events.PrioritySet(self.priority_ok)
            case events.OpenRoute():
                assert self.desired and self.registered and self.ready_workers
                assert self.admitted or self.version.verified
                self.open = True
                return events.RouteOpened()
            case events.CloseRoute() | events.MarkRefused():
                if self.open:
                    self.open, self.closed_at = False, self.now
                self.marked_refused = self.marked_refused or isinstance(action, events.MarkRefused)
            case events.RestartWorkers():
                self.ready_workers, self.priority_ok = 0, True
                return events.WorkersRestarted()
            case events.Reject(reason):
                assert not self.version.verified
                self.registered, self.ready_workers = False, 0
                return events.Refused(reason)
            case events.Unregister():
                assert not self.desired and not self.open and not self.queued
                assert self.version.draining_since is not None
                assert self.now - self.version.draining_since > TIMEOUT_S
                self.registered, self.ready_workers = False, 0
            case events.Forget():
                assert not self.open
                self.version, self.marked_refused = None, False
        return None

    def poll(self) -> None:
        if self.version is None:
            return
        self.observe(events.PollStarted(may_load=True))
        if self.version is not None:
            self.observe(events.PollEnded())

    @rule(seconds=st.sampled_from([0.2, 1.0, 6.0, 20.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_poll(self) -> None:
        self.poll()
        if self.version is not None and self.open:
            assert self.version.state is State.READY

    @rule(action=st.sampled_from(FALLIBLE))
    def a_poll_in_which_an_action_fails(self, action: type) -> None:
        self.breaks = action
        with contextlib.suppress(Failure):
            self.poll()
        self.breaks = None

    @precondition(lambda self: self.registered)
    @rule(count=st.integers(0, 2))
    def workers_come_and_go(self, count: int) -> None:
        self.ready_workers = count

    @rule(loads=st.booleans(), answers=st.booleans(), room=st.booleans(), archive=st.booleans(), low=st.booleans())
    def luck_changes(self, loads: bool, answers: bool, room: bool, archive: bool, low: bool) -> None:
        self.loads, self.answers, self.room, self.archive_ok, self.priority_ok = loads, answers, room, archive, not low

    @rule(count=st.integers(0, 3))
    def requests_queue(self, count: int) -> None:
        self.queued = count if self.open or self.queued else 0

    @rule()
    def somebody_unregisters_it(self) -> None:
        self.registered, self.ready_workers, self.admitted = False, 0, False

    @rule()
    def the_server_is_lost(self) -> None:
        self.registered, self.ready_workers, self.queued, self.admitted, self.open = False, 0, 0, False, False
        if self.version is not None:
            self.observe(events.ServerLost())

    @rule()
    def it_is_no_longer_desired(self) -> None:
        self.desired = False
        if self.version is not None:
            self.observe(events.NotDesired())
            self.poll()

    @rule()
    def it_is_desired(self) -> None:
        self.desired = True
        if self.version is None:
            self.version = Version(DECLARED, TIMEOUT_S)
        else:
            self.observe(events.Desired(1.0, 0.0))

    @rule()
    def all_is_well_in_the_end(self) -> None:
        self.loads = self.answers = self.room = self.archive_ok = self.priority_ok = True
        self.breaks, self.queued = None, 0
        for _ in range(6):
            self.now += 2 * HUNG_S
            if self.registered:
                self.ready_workers = 2
            self.poll()
        if not self.desired:
            assert self.version is None
        else:
            assert self.version is not None
            assert self.version.state in (State.READY, State.REFUSED)
            assert self.open == (self.version.state is State.READY)

    @invariant()
    def traffic_reaches_only_what_has_been_verified(self) -> None:
        if self.open:
            assert self.version is not None and self.version.verified

    @invariant()
    def a_refused_version_is_out_and_stays_out(self) -> None:
        assert all(state is State.WAITING for state in self.registrations)
        if self.version is not None and self.version.state is State.REFUSED:
            assert not self.registered and not self.open and self.marked_refused and self.version.reason

    @invariant()
    def what_is_desired_is_known_and_not_draining(self) -> None:
        if self.desired:
            assert self.version is not None and self.version.state is not State.DRAINING
        elif self.version is not None:
            assert self.version.state is State.DRAINING and not self.open


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

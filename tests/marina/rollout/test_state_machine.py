"""The machine gives a canary traffic only by rule, and takes it away at once."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from marina.releases.replica_status import Replicas, Report
from marina.rollout import operator_commands
from marina.rollout.judge.decision import Outcome, Verdict, decide
from marina.rollout.judge.evidence import Evidence
from marina.rollout.rollouts import ENDINGS, RETREATS, Rollout, RolloutError, describe
from marina.rollout.state_machine import Transition, abort, advance, pause, resume
from tests.marina.rollout.releases import NOW, policy

DECLARED = {"1.0": "1" * 64, "2.0": "2" * 64}


def rollout(phase: str = "deploying", step: int = 0, note: str = "", **changes: object) -> Rollout:
    watched = NOW if phase in ("watching", "probation") else None
    return Rollout(
        7, "sums", "1.0", "2.0", phase, step, False, policy(**changes), None, "ann", NOW, watched, NOW, None, note
    )


NOTHING = decide(Evidence(), policy())


def says(outcome: Outcome) -> Verdict:
    return replace(NOTHING, outcome=outcome)


def fleet(state: str = "ready", canary: float = 0.0, stable: float = 100.0, replica: str = "one") -> Replicas:
    reports = (
        Report(replica, "1.0", "1" * 64, "ready", "", stable),
        Report(replica, "2.0", "2" * 64, state, "it is ill", canary),
    )
    return Replicas(frozenset({replica}), DECLARED, reports)


def test_a_canary_gets_traffic_when_it_is_ready_everywhere() -> None:
    one, two = fleet(), fleet("loading", replica="two")
    both = Replicas(one.alive | two.alive, DECLARED, one.reports + two.reports)
    assert advance(rollout(), None, NOW + 1, (), both) == Transition(replace(rollout(), waiting_for="ready"))
    step = advance(rollout(), None, NOW + 1, (), one)
    assert (step.rollout.phase, step.rollout.step, step.weights) == ("watching", 0, {"1.0": 95.0, "2.0": 5.0})
    assert step.rollout.watched_since == 1_000_005  # the first whole window


@pytest.mark.parametrize(
    "unready",
    [
        Replicas(declared=DECLARED),
        Replicas(frozenset({"one"}), DECLARED, fleet().reports[:1]),
        Replicas(frozenset({"one"}), DECLARED | {"2.0": "3" * 64}, fleet().reports),
    ],
    ids=["no server", "not taken up", "another archive"],
)
def test_a_version_that_is_not_there_as_declared_is_not_ready(unready: Replicas) -> None:
    assert advance(rollout(), None, NOW + 1, (), unready).rollout.phase == "deploying"


def test_a_refusal_anywhere_ends_it_with_the_workers_words() -> None:
    for phase in ("deploying", "watching", "probation"):
        step = advance(rollout(phase), None, NOW + 1, (), fleet("refused"))
        assert step.rollout.phase == "failing" and step.weights == {"1.0": 100.0, "2.0": 0.0}
        assert "it is ill" in step.rollout.note
    ended = advance(step.rollout, None, NOW + 2, (), fleet("refused"))
    assert ended.rollout.phase == "failed" and ended.withdrawn == ("2.0",) and "it is ill" in ended.rollout.note


def test_steps_take_a_verdict_and_their_time() -> None:
    watching = rollout("watching")
    assert advance(watching, says("promote"), NOW + 59, (), fleet()).rollout == watching
    assert advance(watching, says("keep watching"), NOW + 61, (), fleet()).rollout == watching
    step = advance(watching, says("promote"), NOW + 61, (), fleet())
    assert (step.rollout.step, step.weights) == (1, {"1.0": 50.0, "2.0": 50.0})
    last = advance(replace(step.rollout, phase_since=NOW), says("promote"), NOW + 61, (), fleet())
    assert last.rollout.phase == "probation" and last.weights == {"1.0": 0.0, "2.0": 100.0} and not last.withdrawn
    done = advance(last.rollout, says("keep watching"), NOW + 122, (), fleet(canary=100.0, stable=0.0))
    assert done.rollout.phase == "done" and done.withdrawn == ("1.0",)


def test_the_old_version_stays_until_no_gateway_sends_to_it() -> None:
    probation = rollout("probation", 2)
    assert advance(probation, None, NOW + 61, (), fleet(canary=100.0, stable=1.0)).withdrawn == ()


@pytest.mark.parametrize("phase", ["watching", "probation"])
def test_harm_returns_all_traffic_at_once_and_unloads_when_no_gateway_sends_any(phase: str) -> None:
    step = advance(replace(rollout(phase), paused=True), says("roll back"), NOW + 1, (), fleet(canary=5.0))
    assert step.weights == {"1.0": 100.0, "2.0": 0.0} and step.withdrawn == ()
    waiting = advance(step.rollout, None, NOW + 2, (), fleet(canary=5.0))
    assert waiting == Transition(replace(step.rollout, waiting_for="routing"))
    ended = advance(step.rollout, None, NOW + 3, (), fleet())
    assert (ended.rollout.phase, ended.withdrawn) == ("rolled back", ("2.0",))
    assert ended.rollout.note == says("roll back").reason and ended.rollout.ended_at == NOW + 3


def without_stable(canary: float) -> Replicas:
    one = fleet(canary=canary)
    return replace(one, reports=(replace(one.reports[0], state="refused"), one.reports[1]))


@pytest.mark.parametrize("verdict", ["roll back", "promote"])
def test_traffic_does_not_return_to_what_is_ready_nowhere(verdict: Outcome) -> None:
    state = "ready" if verdict == "roll back" else "refused"
    ill = without_stable(100.0)
    ill = replace(ill, reports=(ill.reports[0], replace(ill.reports[1], state=state)))
    step = advance(rollout("probation", 2), says(verdict), NOW + 1, (), ill)
    assert (step.action, step.rollout.phase, step.weights) == ("stuck", "probation", {})
    assert step.rollout.waiting_for == "ready" and "1.0 is ready nowhere" in step.rollout.stuck_on
    stuck = replace(rollout("probation", 2), note="ready", stuck_since=NOW, stuck_on="no traffic")
    assert "1.0 is ready nowhere" in advance(stuck, says(verdict), NOW + 1, (), ill).rollout.stuck_on
    assert advance(step.rollout, says(verdict), NOW + 99, (), ill) == Transition(step.rollout)
    assert advance(step.rollout, says(verdict), NOW + 99, (), fleet(state)).weights == {"1.0": 100.0, "2.0": 0.0}


def test_harm_that_cannot_be_ended_is_reported_once_whatever_is_waited_for_in_between() -> None:
    ill = without_stable(100.0)
    stuck = advance(rollout("probation", 2), says("roll back"), NOW + 1, (), ill)
    assert stuck.action == "stuck"
    between = advance(stuck.rollout, says("promote"), NOW + 99_999, (), ill)  # a server still sends traffic to 1.0
    assert between == Transition(stuck.rollout)
    assert not advance(between.rollout, says("roll back"), NOW + 100_000, (), ill).action


def test_it_returns_where_one_server_has_it_and_the_canary_stays_until_all_have() -> None:
    other = fleet(replica="two")
    ill = without_stable(5.0)
    both = Replicas(ill.alive | other.alive, DECLARED, ill.reports + other.reports)
    step = advance(rollout("watching"), says("roll back"), NOW + 1, (), both)
    assert step.weights == {"1.0": 100.0, "2.0": 0.0}
    followed = replace(both, reports=tuple(replace(one, weight=100.0 * (one.version == "1.0")) for one in both.reports))
    waiting = advance(step.rollout, None, NOW + 2, (), followed)
    assert waiting == Transition(replace(step.rollout, waiting_for="ready"))
    stuck = advance(step.rollout, None, NOW + 602, (), followed)
    assert stuck.action == "stuck" and "one: refused" in stuck.rollout.stuck_on and not stuck.withdrawn
    assert advance(stuck.rollout, None, NOW + 603, (), fleet()).withdrawn == ("2.0",)


def test_a_paused_rollout_stays_until_it_is_resumed() -> None:
    paused = pause(rollout("watching"), "ben").rollout
    assert advance(paused, says("promote"), NOW + 61, (), fleet()).rollout == paused
    with pytest.raises(RolloutError, match="paused already"):
        pause(paused, "ben")
    going = resume(paused, "ben").rollout
    assert advance(going, says("promote"), NOW + 61, (), fleet()).rollout.step == 1
    with pytest.raises(RolloutError, match="not paused"):
        resume(going, "ben")


def test_two_others_agree_before_the_last_step() -> None:
    watching = rollout("watching", 1, approvals=2)
    later = NOW + 61
    for approvals in [set(), {"ann"}, {"ann", "ben"}]:
        step = advance(watching, says("promote"), later, approvals, fleet())
        assert not step.weights and step.rollout.waiting_for == "approval"
    assert advance(watching, says("promote"), later, {"ben", "cem"}, fleet()).rollout.phase == "probation"


def test_one_approval_may_be_the_starters_own() -> None:
    watching = rollout("watching", 1, approvals=1)
    assert advance(watching, says("promote"), NOW + 61, {"ann"}, fleet()).rollout.phase == "probation"


def test_a_direct_switch_has_one_step() -> None:
    one = rollout(steps=[{"share": 1.0, "at_least_s": 0}])
    step = advance(one, None, NOW + 1, (), fleet())
    assert step.rollout.phase == "probation" and step.weights["2.0"] == 100
    ended = advance(step.rollout, says("keep watching"), NOW + 2, (), fleet(canary=100.0, stable=0.0))
    assert ended.rollout.phase == "done"


def test_a_direct_switch_is_agreed_to_all_the_same() -> None:
    one = replace(rollout(), policy=operator_commands.at_once(policy(approvals=1)))
    waiting = advance(one, None, NOW + 1, (), fleet())
    assert not waiting.weights and waiting.rollout.waiting_for == "approval"
    assert "waits for one person" in describe(waiting.rollout)
    step = advance(waiting.rollout, None, NOW + 2, {"ben"}, fleet())
    assert step.rollout.phase == "probation" and step.weights == {"1.0": 0.0, "2.0": 100.0}


def test_what_does_not_get_on_is_reported_once() -> None:
    step = advance(rollout(), None, NOW + 600, (), fleet("loading"))
    assert step.action == "stuck" and (step.rollout.stuck_since, step.rollout.waiting_for) == (NOW + 600, "ready")
    assert "one: loading" in step.rollout.stuck_on and step.rollout.stuck_on in describe(step.rollout)
    assert advance(step.rollout, None, NOW + 601, (), fleet("loading")) == Transition(step.rollout)
    entered = advance(step.rollout, None, NOW + 602, (), fleet()).rollout
    assert (entered.phase, entered.stuck_since, entered.stuck_on, entered.waiting_for) == ("watching", None, "", "")


def test_an_approval_that_is_missing_for_long_is_reported_once_whatever_the_note_says() -> None:
    waiting = advance(rollout("watching", 1, approvals=2), says("promote"), NOW + 661, (), fleet()).rollout
    stuck = advance(waiting, says("promote"), NOW + 662, (), fleet())
    assert (stuck.action, stuck.rollout.waiting_for, stuck.rollout.note) == ("stuck", "approval", waiting.note)
    reworded = replace(stuck.rollout, note="auf Deutsch")
    again = advance(reworded, says("promote"), NOW + 663, {"ben"}, fleet())
    assert not again.action and "one person" in again.rollout.note and again.rollout.stuck_since == NOW + 662
    assert advance(again.rollout, says("promote"), NOW + 664, {"ben", "cem"}, fleet()).rollout.phase == "probation"


def test_no_traffic_is_reported_and_decides_nothing() -> None:
    step = advance(rollout("watching"), NOTHING, NOW + 661, (), fleet())
    assert step.action == "stuck" and step.rollout.phase == "watching" and not step.weights


def test_a_reason_outlives_a_report_of_being_stuck() -> None:
    rolling = rollout("rolling back", note="too many errors")
    stuck = advance(rolling, None, NOW + 600, (), fleet(canary=5.0))
    assert stuck.action == "stuck"
    assert advance(stuck.rollout, None, NOW + 601, (), fleet()).rollout.note == "too many errors"


def test_a_clock_that_is_set_back_begins_the_phase_anew() -> None:
    late = replace(rollout("watching"), phase_since=NOW + 3600, watched_since=NOW + 3600)
    step = advance(late, says("promote"), NOW, (), fleet())
    assert step.rollout.phase_since == NOW and step.rollout.watched_since == NOW and not step.weights
    assert advance(step.rollout, says("promote"), NOW + 59, (), fleet()).rollout.step == 0


def test_declarations_changed_from_outside_end_it() -> None:
    alone = replace(fleet(), declared={"1.0": "1" * 64})
    step = advance(rollout("watching"), says("promote"), NOW + 61, (), alone)
    assert step.rollout.phase == "aborted" and "2.0 is no longer desired" in step.why and not step.weights


def test_a_shadow_stays_silent_until_it_is_stopped() -> None:
    shadow = rollout("shadow")
    step = advance(shadow, None, NOW + 1, (), fleet())
    assert step.rollout.phase == "shadow" and not step.weights and "in shadow" in step.rollout.note
    assert advance(step.rollout, None, NOW + 99_999, (), fleet()) == Transition(step.rollout)
    stopped = abort(shadow, NOW + 5, "by ben")
    assert stopped.rollout.phase == "done" and stopped.withdrawn == ("2.0",)


class Rollouts(RuleBasedStateMachine):
    """Whatever happens in whatever order: no traffic without a reason, and always somebody who serves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.entered = NOW
        self.state = self.stable_state = "ready"
        self.approvals: set[str] = set()

    @initialize(
        start=st.sampled_from([("deploying", 0, 0), ("watching", 0, 5), ("watching", 1, 50), ("probation", 2, 100)])
    )
    def begin(self, start: tuple[str, int, int]) -> None:
        phase, step, share = start
        self.rollout = rollout(phase, step, approvals=1)
        self.weights = {"1.0": 100.0 - share, "2.0": float(share)}
        self.seen = {"1.0": 100.0, "2.0": 0.0}

    def take(self, step: Transition) -> None:
        before, more = self.weights.get("2.0", 0.0), step.weights.get("2.0")
        assert set(step.weights) in (set(), {"1.0", "2.0"})
        if more is not None and more > before:
            assert not self.rollout.paused
            assert before == 0 or self.now - self.entered >= 60
            assert more < 100 or self.approvals
            self.entered = self.now
        for version in step.withdrawn:
            assert self.weights[version] == 0 and self.seen[version] == 0
            assert version == "1.0" or self.stable_state == "ready"
        self.weights = {v: w for v, w in (self.weights | step.weights).items() if v not in step.withdrawn}
        self.rollout = step.rollout

    def look(self) -> Replicas:
        reports = tuple(
            Report(
                "one",
                version,
                DECLARED[version],
                self.state if version == "2.0" else self.stable_state,
                "",
                self.seen[version],
            )
            for version in self.weights
        )
        return Replicas(frozenset({"one"}), {version: DECLARED[version] for version in self.weights}, reports)

    open = precondition(lambda self: self.rollout.ended_at is None)

    @open
    @rule(outcome=st.sampled_from(["promote", "keep watching", "roll back"]), seconds=st.sampled_from([0.5, 61.0]))
    def judge(self, outcome: Outcome, seconds: float) -> None:
        self.now += seconds
        judged = self.rollout.phase in ("watching", "probation")
        watched = judged and self.state != "refused"
        before = self.weights
        self.take(advance(self.rollout, says(outcome) if judged else None, self.now, self.approvals, self.look()))
        if judged and self.stable_state != "ready" and (outcome == "roll back" or self.state == "refused"):
            assert self.weights == before
        elif watched and outcome == "roll back":
            assert self.rollout.phase == "rolling back" and self.weights["2.0"] == 0

    @rule()
    def gateway(self) -> None:
        self.seen = {"1.0": 0.0, "2.0": 0.0} | self.weights

    @rule(state=st.sampled_from(["loading", "ready", "refused"]), stable=st.booleans())
    def load(self, state: str, stable: bool) -> None:
        if stable:
            self.stable_state = state
        else:
            self.state = state

    @rule(seconds=st.floats(0, 200))
    def clock_set_back(self, seconds: float) -> None:
        self.now -= seconds
        self.entered = min(self.entered, self.now)

    @rule()
    def approve(self) -> None:
        self.approvals.add("ben")

    @open
    @rule(order=st.sampled_from(["pause", "resume", "abort"]))
    def order(self, order: str) -> None:
        try:
            if order == "abort":
                self.take(abort(self.rollout, self.now, "by ben"))
                assert self.weights == {"1.0": 100.0, "2.0": 0.0}
            else:
                self.take({"pause": pause, "resume": resume}[order](self.rollout, "ben"))
        except RolloutError:
            assert self.rollout.phase in RETREATS or order != "abort"

    @invariant()
    def somebody_has_all_the_traffic(self) -> None:
        assert sum(self.weights.values()) == 100
        if self.rollout.ended_at is not None:
            assert self.rollout.phase in ENDINGS and len(self.weights) == 1
            assert ("2.0" in self.weights) == (self.rollout.phase == "done")


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)

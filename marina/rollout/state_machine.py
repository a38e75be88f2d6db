"""The state machine: a rollout's state and what is known, in; its next state, out. Pure.

    deploying ──▶ watching 5 % ──▶ watching 50 % ──▶ probation 100 % ──▶ done
        │              │                 │                  │
        └─ refused     └─────────────────┴──────────────────┴─ verdict "roll back", refused, manual abort
             ▼                           ▼
          failing                  rolling back, aborting      traffic is stable's at once;
             ▼                           ▼                     unloaded when no gateway sends any more
          failed                   rolled back, aborted

Only time that is known to have passed counts: where the clock was set back behind a phase's start, the phase starts
again.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from marina.events.access_log import WINDOW_S
from marina.releases.replica_status import Replicas
from marina.rollout.judge.decision import Verdict
from marina.rollout.rollouts import RETREATS, Rollout, RolloutError, WaitingFor, ended

_ACTIONS = {"rolling back": "roll back", "aborting": "abort", "failing": "fail"}


@dataclass(frozen=True)
class Transition:
    """What is to be done, all of it in one transaction.

    Attributes
    ----------
    rollout
        Where it stands after it.
    weights
        Shares of the traffic to declare, by version; none where they stay.
    withdrawn
        Versions that are declared no longer.
    action
        The ledger's word for it; empty when nothing happened that belongs there.
    why
        The reason, as text.
    """

    rollout: Rollout
    weights: dict[str, float] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()
    action: str = ""
    why: str = ""


def advance(
    rollout: Rollout,
    verdict: Verdict | None,
    now: float,
    approvals: Collection[str],
    replicas: Replicas,
    missing_latency: str = "",
) -> Transition:
    """Take a rollout one step on, or leave it where it is.

    Parameters
    ----------
    rollout
        Where it stands; it is open.
    verdict
        What the judge says now; None while nothing is to be judged.
    now
        Seconds since 1970.
    approvals
        Who agreed that it may take all traffic.
    replicas
        What the live supervisors say.
    """
    rollout = _in_time(rollout, now)
    if missing := {rollout.stable, rollout.canary} - set(replicas.declared):
        gone = " and ".join(sorted(missing))
        why = f"{rollout.model} {gone} is no longer desired: the desired versions were changed from outside"
        return Transition(ended(rollout, "aborted", now, why), action="aborted", why=why)
    if rollout.phase in RETREATS:
        return _finish_retreat(rollout, now, replicas)
    if refusals := replicas.refusals(rollout.canary):
        return _retreat(rollout, "failing", now, "refused to serve: " + "; ".join(refusals), replicas)
    if verdict is not None and verdict.outcome == "roll back":
        return _retreat(rollout, "rolling back", now, verdict.reason, replicas)
    if rollout.paused:
        return Transition(rollout)
    match rollout.phase:
        case "watching":
            return _watch(rollout, verdict, now, approvals, missing_latency)
        case "probation":
            return _end_probation(rollout, now, replicas)
        case _:
            return _deploy(rollout, now, approvals, replicas)


def pause(rollout: Rollout, who: str) -> Transition:
    """Let it advance no further until it is resumed; a verdict to roll back is still obeyed."""
    if rollout.phase in RETREATS or rollout.phase == "shadow":
        raise RolloutError(f"{rollout} is {rollout.phase}: there is nothing to pause.")
    if rollout.paused:
        raise RolloutError(f"{rollout} is paused already.")
    why = f"paused by {who}"
    return Transition(_progressing(rollout, paused=True, note=why), action="pause", why=why)


def resume(rollout: Rollout, who: str) -> Transition:
    """Let a paused rollout advance again."""
    if not rollout.paused:
        raise RolloutError(f"{rollout} is not paused.")
    why = f"resumed by {who}"
    return Transition(_progressing(rollout, paused=False, note=why), action="resume", why=why)


def abort(rollout: Rollout, now: float, why: str) -> Transition:
    """Give all traffic back to stable and end it, whatever the evidence says and wherever stable is ready."""
    if rollout.phase in RETREATS:
        raise RolloutError(f"{rollout} is {rollout.phase} already.")
    if rollout.phase == "shadow":
        return Transition(ended(rollout, "done", now, why), withdrawn=(rollout.canary,), action="stop shadow", why=why)
    return _give_back(rollout, "aborting", now, why)


def window(now: float) -> float:
    """Return the start of the first window of evidence that lies wholly after now."""
    return float(math.ceil(now / WINDOW_S) * WINDOW_S)


def missing_approvals(rollout: Rollout, approvals: Collection[str]) -> int:
    """Return how many people have yet to agree. Where two are needed, the one who started the rollout is neither."""
    needed = rollout.policy.approvals
    counted = set(approvals) - ({rollout.started_by} if needed > 1 else set())
    return max(0, needed - len(counted))


def _in_time(rollout: Rollout, now: float) -> Rollout:
    """Restart a phase that lies ahead, and evidence that does so by more than a window: the clock was set back."""
    since = rollout.watched_since
    if since is not None and since - now > WINDOW_S:
        since = window(now)
    return replace(rollout, phase_since=min(rollout.phase_since, now), watched_since=since)


def _deploy(rollout: Rollout, now: float, approvals: Collection[str], replicas: Replicas) -> Transition:
    if missing := replicas.list_missing_replicas(rollout.canary):
        return _wait(rollout, now, 0, f"{rollout.canary} is not ready: " + "; ".join(missing), "ready")
    if rollout.phase == "shadow":
        return Transition(_progressing(rollout, note=f"{rollout.canary} is ready, in shadow"))
    return _enter(rollout, 0, now, approvals, "ready on " + ", ".join(sorted(replicas.alive)))


def _watch(
    rollout: Rollout, verdict: Verdict | None, now: float, approvals: Collection[str], missing_latency: str
) -> Transition:
    at_least_s = rollout.policy.steps[rollout.step].at_least_s
    if verdict is None or now - rollout.phase_since < at_least_s:
        return Transition(rollout)
    if verdict.outcome != "promote":
        test = rollout.policy.test
        waiting_for, what = _name_missing(rollout, verdict, missing_latency)
        if waiting_for != rollout.waiting_for and what:
            rollout = _progressing(rollout, note=f"waits: {what}", waiting_for=waiting_for)
        return _wait(rollout, now, test.ends_after_s if test else at_least_s, what or verdict.reason, waiting_for)
    return _enter(rollout, rollout.step + 1, now, approvals, verdict.reason)


def _name_missing(rollout: Rollout, verdict: Verdict, missing_latency: str) -> tuple[WaitingFor, str]:
    """Return what is missing that time alone does not bring, and in words; else what it waited for, without words."""
    gates = rollout.policy.gates
    if missing_latency and gates.latency.required:
        return "latency", missing_latency
    missing_labels = next((one.missing for one in verdict.findings if one.gate == "accuracy"), "")
    if missing_labels and gates.accuracy.required:
        return "labels", f"accuracy needs {missing_labels}"
    return "" if rollout.waiting_for in ("latency", "labels") else rollout.waiting_for, ""


def _enter(rollout: Rollout, step: int, now: float, approvals: Collection[str], why: str) -> Transition:
    last = step == len(rollout.policy.steps) - 1
    if last and (missing := missing_approvals(rollout, approvals)):
        people = "one person" if missing == 1 else f"{missing} people"
        note = f"waits for {people} to agree to all traffic: python -m marina.rollout approve --model {rollout.model}"
        what = "one approval missing" if missing == 1 else f"{missing} approvals missing"
        if rollout.waiting_for != "approval":
            return Transition(_progressing(rollout, note=note, waiting_for="approval"))
        if rollout.stuck_since is not None:
            return Transition(replace(rollout, note=note, stuck_on=what))
        at_least_s = rollout.policy.steps[rollout.step].at_least_s
        return _wait(replace(rollout, note=note), now, at_least_s, what, "approval")
    share = rollout.policy.steps[step].share
    next_one = _progressing(
        rollout,
        phase="probation" if last else "watching",
        step=step,
        phase_since=now,
        watched_since=window(now) if rollout.watched_since is None else rollout.watched_since,
        note=f"{share:.4g} of the traffic: {why}",
    )
    canary = round(100 * share, 6)
    weights = {rollout.stable: 100 - canary, rollout.canary: canary}
    return Transition(next_one, weights, action=next_one.phase, why=why)


def _end_probation(rollout: Rollout, now: float, replicas: Replicas) -> Transition:
    at_least_s = rollout.policy.steps[rollout.step].at_least_s
    if now - rollout.phase_since < at_least_s:
        return Transition(rollout)
    if routing := replicas.routing(rollout.stable):
        what = f"{', '.join(routing)} still sends traffic to {rollout.stable}"
        return _wait(rollout, now, at_least_s, what, "routing")
    why = f"{rollout.canary} has served alone for {now - rollout.phase_since:.0f} s"
    return Transition(ended(rollout, "done", now, why), withdrawn=(rollout.stable,), action="done", why=why)


def _retreat(rollout: Rollout, phase: str, now: float, why: str, replicas: Replicas) -> Transition:
    """Give stable its traffic back, unless servers run and none of them has it: then no one would be served."""
    served = rollout.phase in ("watching", "probation")
    if served and replicas.alive and not replicas.is_ready(rollout.stable):
        what = f"{rollout.canary} is harmful and keeps its traffic, since {rollout.stable} is ready nowhere"
        if rollout.stuck_since is not None and rollout.waiting_for == "ready":
            return Transition(rollout)
        return _stuck(replace(rollout, waiting_for="ready"), now, what)
    return _give_back(rollout, phase, now, why)


def _give_back(rollout: Rollout, phase: str, now: float, why: str) -> Transition:
    next_one = _progressing(rollout, phase=phase, phase_since=now, paused=False, note=why)
    return Transition(next_one, {rollout.stable: 100.0, rollout.canary: 0.0}, action=_ACTIONS[phase], why=why)


def _finish_retreat(rollout: Rollout, now: float, replicas: Replicas) -> Transition:
    if routing := replicas.routing(rollout.canary):
        return _wait(rollout, now, 0, f"{', '.join(routing)} still sends traffic to {rollout.canary}", "routing")
    if missing := replicas.list_missing_replicas(rollout.stable):
        what = f"{rollout.canary} stays, {rollout.stable} is not ready: {'; '.join(missing)}"
        return _wait(rollout, now, 0, what, "ready")
    ending, why = RETREATS[rollout.phase], rollout.note
    return Transition(ended(rollout, ending, now, why), withdrawn=(rollout.canary,), action=ending, why=why)


def _wait(rollout: Rollout, now: float, due_s: float, what: str, waiting_for: WaitingFor) -> Transition:
    """Stay, and report it once when that has lasted too long."""
    if rollout.stuck_since is not None:  # what it waits for stays beside what it was reported to be stuck on
        return Transition(rollout)
    rollout = replace(rollout, waiting_for=waiting_for)
    if now - rollout.phase_since < due_s + rollout.policy.stuck_after_s:
        return Transition(rollout)
    return _stuck(rollout, now, what)


def _stuck(rollout: Rollout, now: float, what: str) -> Transition:
    return Transition(replace(rollout, stuck_since=now, stuck_on=what), action="stuck", why=what)


def _progressing(rollout: Rollout, *, waiting_for: WaitingFor = "", **changes: Any) -> Rollout:
    """Return it with changes, no longer stuck; it waits for nothing but what is given."""
    return replace(rollout, stuck_since=None, stuck_on="", waiting_for=waiting_for, **changes)

"""The machine: where a rollout stands and what is known, in; where it stands next, out. Pure.

    deploying ──▶ watching 5 % ──▶ watching 50 % ──▶ probation 100 % ──▶ done
        │              │                 │                  │
        └─ refused     └─────────────────┴──────────────────┴─ verdict "roll back", refused, abort by hand
             ▼                           ▼
          failing                  rolling back, aborting      traffic is stable's at once;
             ▼                           ▼                     unloaded when no gateway sends any more
          failed                   rolled back, aborted

Only time that is known to have passed counts: where the clock was set back behind a phase's start, the phase begins
anew.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from events.access import WINDOW_S
from rollout.judge import Verdict
from rollout.replicas import Replicas
from rollout.rollouts import RETREATS, Rollout, RolloutError, ended

STUCK = "stuck: "
"""What the note of a rollout has in it that does not get on."""

_ACTIONS = {"rolling back": "roll back", "aborting": "abort", "failing": "fail"}


@dataclass(frozen=True)
class Step:
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
        The reason, in words.
    """

    rollout: Rollout
    weights: dict[str, float] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()
    action: str = ""
    why: str = ""


def advance(
    rollout: Rollout, verdict: Verdict | None, now: float, approvals: Collection[str], replicas: Replicas
) -> Step:
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
        why = f"{rollout.model} {gone} is declared no longer: what is served was changed from outside"
        return Step(ended(rollout, "aborted", now, why), action="aborted", why=why)
    if rollout.phase in RETREATS:
        return _finish_retreat(rollout, now, replicas)
    if refusals := replicas.refusals(rollout.canary):
        return _retreat(rollout, "failing", now, "refused to serve: " + "; ".join(refusals), replicas)
    if verdict is not None and verdict.outcome == "roll back":
        return _retreat(rollout, "rolling back", now, verdict.reason, replicas)
    if rollout.paused:
        return Step(rollout)
    match rollout.phase:
        case "watching":
            return _watch(rollout, verdict, now, approvals)
        case "probation":
            return _end_probation(rollout, now, replicas)
        case _:
            return _deploy(rollout, now, approvals, replicas)


def pause(rollout: Rollout, who: str) -> Step:
    """Let it advance no further until it is resumed; a verdict to roll back is still obeyed."""
    if rollout.phase in RETREATS or rollout.phase == "shadow":
        raise RolloutError(f"{rollout} is {rollout.phase}: there is nothing to pause.")
    if rollout.paused:
        raise RolloutError(f"{rollout} is paused already.")
    why = f"paused by {who}"
    return Step(replace(rollout, paused=True, note=why), action="pause", why=why)


def resume(rollout: Rollout, who: str) -> Step:
    """Let a paused rollout advance again."""
    if not rollout.paused:
        raise RolloutError(f"{rollout} is not paused.")
    why = f"resumed by {who}"
    return Step(replace(rollout, paused=False, note=why), action="resume", why=why)


def abort(rollout: Rollout, now: float, why: str) -> Step:
    """Give all traffic back to stable and end it, whatever the evidence says and wherever stable is ready."""
    if rollout.phase in RETREATS:
        raise RolloutError(f"{rollout} is {rollout.phase} already.")
    if rollout.phase == "shadow":
        return Step(ended(rollout, "done", now, why), withdrawn=(rollout.canary,), action="stop shadow", why=why)
    return _give_back(rollout, "aborting", now, why)


def window(now: float) -> float:
    """Return the start of the first window of evidence that lies wholly after now."""
    return float(math.ceil(now / WINDOW_S) * WINDOW_S)


def missing_approvals(rollout: Rollout, approvals: Collection[str]) -> int:
    """Return how many persons have yet to agree. Where two are asked, whoever began the rollout is none of them."""
    needed = rollout.policy.approvals
    counted = set(approvals) - ({rollout.started_by} if needed > 1 else set())
    return max(0, needed - len(counted))


def _in_time(rollout: Rollout, now: float) -> Rollout:
    """Begin a phase anew that lies ahead, and evidence that does so by more than a window: the clock was set back."""
    since = rollout.watched_since
    if since is not None and since - now > WINDOW_S:
        since = window(now)
    return replace(rollout, phase_since=min(rollout.phase_since, now), watched_since=since)


def _deploy(rollout: Rollout, now: float, approvals: Collection[str], replicas: Replicas) -> Step:
    if lacking := replicas.lacking(rollout.canary):
        return _wait(rollout, now, 0, f"{rollout.canary} is not ready: " + "; ".join(lacking))
    if rollout.phase == "shadow":
        return Step(replace(rollout, note=f"{rollout.canary} is ready, and silent"))
    return _enter(rollout, 0, now, approvals, "ready on " + ", ".join(sorted(replicas.alive)))


def _watch(rollout: Rollout, verdict: Verdict | None, now: float, approvals: Collection[str]) -> Step:
    at_least_s = rollout.policy.steps[rollout.step].at_least_s
    if verdict is None or now - rollout.phase_since < at_least_s:
        return Step(rollout)
    if verdict.outcome != "promote":
        test = rollout.policy.test
        return _wait(rollout, now, test.ends_after_s if test else at_least_s, verdict.reason)
    return _enter(rollout, rollout.step + 1, now, approvals, verdict.reason)


def _enter(rollout: Rollout, step: int, now: float, approvals: Collection[str], why: str) -> Step:
    last = step == len(rollout.policy.steps) - 1
    if last and (missing := missing_approvals(rollout, approvals)):
        persons = "one person" if missing == 1 else f"{missing} persons"
        note = f"waits for {persons} to agree to all traffic: scripts/rollout.py approve --model {rollout.model}"
        if rollout.note.startswith(note):
            return _wait(rollout, now, rollout.policy.steps[rollout.step].at_least_s, f"{persons} missing")
        return Step(replace(rollout, note=note))
    share = rollout.policy.steps[step].share
    next_one = replace(
        rollout,
        phase="probation" if last else "watching",
        step=step,
        phase_since=now,
        watched_since=window(now) if rollout.watched_since is None else rollout.watched_since,
        note=f"{share:.4g} of the traffic: {why}",
    )
    canary = round(100 * share, 6)
    weights = {rollout.stable: 100 - canary, rollout.canary: canary}
    return Step(next_one, weights, action=next_one.phase, why=why)


def _end_probation(rollout: Rollout, now: float, replicas: Replicas) -> Step:
    at_least_s = rollout.policy.steps[rollout.step].at_least_s
    if now - rollout.phase_since < at_least_s:
        return Step(rollout)
    if routing := replicas.routing(rollout.stable):
        return _wait(rollout, now, at_least_s, f"{', '.join(routing)} still sends traffic to {rollout.stable}")
    why = f"{rollout.canary} has served alone for {now - rollout.phase_since:.0f} s"
    return Step(ended(rollout, "done", now, why), withdrawn=(rollout.stable,), action="done", why=why)


def _retreat(rollout: Rollout, phase: str, now: float, why: str, replicas: Replicas) -> Step:
    """Give stable its traffic back, unless servers run and none of them has it: then nobody would be served."""
    served = rollout.phase in ("watching", "probation")
    if served and replicas.alive and not replicas.is_ready(rollout.stable):
        what = f"{rollout.canary} does harm and keeps its traffic, since {rollout.stable} is ready nowhere"
        return Step(rollout) if what in rollout.note else _stuck(rollout, what)
    return _give_back(rollout, phase, now, why)


def _give_back(rollout: Rollout, phase: str, now: float, why: str) -> Step:
    next_one = replace(rollout, phase=phase, phase_since=now, paused=False, note=why)
    return Step(next_one, {rollout.stable: 100.0, rollout.canary: 0.0}, action=_ACTIONS[phase], why=why)


def _finish_retreat(rollout: Rollout, now: float, replicas: Replicas) -> Step:
    if routing := replicas.routing(rollout.canary):
        return _wait(rollout, now, 0, f"{', '.join(routing)} still sends traffic to {rollout.canary}")
    if lacking := replicas.lacking(rollout.stable):
        return _wait(rollout, now, 0, f"{rollout.canary} stays, {rollout.stable} is not ready: {'; '.join(lacking)}")
    ending = RETREATS[rollout.phase]
    why = _reason(rollout)
    return Step(ended(rollout, ending, now, why), withdrawn=(rollout.canary,), action=ending, why=why)


def _wait(rollout: Rollout, now: float, due_s: float, what: str) -> Step:
    """Stay, and say so once when that has lasted too long."""
    if now - rollout.phase_since < due_s + rollout.policy.stuck_after_s or f"({STUCK}" in rollout.note:
        return Step(rollout)
    return _stuck(rollout, what)


def _stuck(rollout: Rollout, what: str) -> Step:
    note = f"{_reason(rollout)} ({STUCK}{what})".strip()
    return Step(replace(rollout, note=note), action="stuck", why=what)


def _reason(rollout: Rollout) -> str:
    """Return its note without what it is stuck on."""
    return rollout.note.partition(f"({STUCK}")[0].rstrip()

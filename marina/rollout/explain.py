"""A rollout as text: what happened, who did it, and what the last verdict went by."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from marina.releases import ledger
from marina.rollout import rollouts, verdicts
from marina.rollout.judge import JUDGE_VERSION
from marina.rollout.judge.decision import Finding, decide
from marina.rollout.rollouts import Rollout
from marina.rollout.state_machine import missing_approvals


def clock(seconds: float) -> str:
    """Write a time: UTC, to the second."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def shares(weights: Mapping[str, float]) -> str:
    """Write which version has which share of the traffic."""
    total = sum(weights.values()) or 1.0
    return ", ".join(f"{version} {100 * one / total:.4g} %" for version, one in sorted(weights.items())) or "nothing"


def heading(rollout: Rollout) -> str:
    """Say in a line which rollout it is and where it stands."""
    kind = "shadow" if rollout.phase == "shadow" else "rollout"
    return f"{kind} {rollout.id}: {rollout}, {_where(rollout)}"


def describe(connection: sa.Connection, rollout: Rollout) -> Iterator[str]:
    """Describe a rollout from the ledger, with the last verdict and its evidence, line by line."""
    policy = rollout.policy
    yield heading(rollout)
    yield f"  started {clock(rollout.started_at)} by {rollout.started_by}"
    if rollout.phase != "shadow":
        steps = ", ".join(f"{100 * step.share:g} % for at least {step.at_least_s:g} s" for step in policy.steps)
        yield f"  steps: {steps}"
        if policy.test:
            yield f"  an A/B test by {policy.test.metric}, at most {policy.test.ends_after_s:g} s"
        yield (
            f"  guarantees: at most {100 * policy.false_alarm_rate:g} % of good canaries rolled back, "
            f"at most {100 * policy.false_promotion_rate:g} % of bad ones promoted"
        )
        if rollout.stable_p95_ms is not None:
            slow_ms = rollout.stable_p95_ms + policy.gates.latency.margin_ms
            yield f"  slow: over {slow_ms:.1f} ms (p95 of {rollout.stable} was {rollout.stable_p95_ms:.1f} ms)"
    if policy.approvals:
        agreed = ", ".join(sorted(rollouts.agreed(connection, rollout.id))) or "no one yet"
        missing = missing_approvals(rollout, rollouts.agreed(connection, rollout.id))
        yield f"  approved for all traffic: {agreed}" + (f" ({missing} missing)" if missing else "")
    yield "  what happened:"
    for entry in ledger.entries(connection, rollout.model):
        details = json.loads(entry.details)
        if details.get("rollout") == rollout.id:
            seen = f" [verdict {details['verdict']}]" if "verdict" in details else ""
            why = details["why"] or shares(entry.weights)
            yield f"    {clock(entry.time)}  {entry.action:<12} {entry.who}: {why}{seen}"
    if rollout.ended_at is None and (now := rollouts.describe(rollout)):
        yield f"  now: {now}"
    last = verdicts.last(connection, rollout.id)
    if last is not None:
        yield f"  last verdict ({last.id}, {clock(last.time)}): {last.outcome}"
        for finding in last.verdict().findings:
            yield f"    {_finding(finding)}"


def recompute(connection: sa.Connection, rollout: Rollout) -> Iterator[str]:
    """Compare a rollout's last verdict, as it was stored, with today's judge on the same evidence, line by line."""
    last = verdicts.last(connection, rollout.id)
    if last is None:
        yield "  no verdict to compare"
        return
    again = decide(last.counts(), rollout.policy)
    yield f"  judge {JUDGE_VERSION} on the same evidence (the verdict is of judge {last.judge()}): {again.outcome}"
    if (again.outcome, verdicts.findings(again, last.judge())) == (last.outcome, last.findings):
        yield "    the same, bit for bit"
        return
    stored = {one.gate: one for one in last.verdict().findings}
    for finding in again.findings:
        if finding != stored.get(finding.gate):
            yield f"    {_finding(finding)}"


def _where(rollout: Rollout) -> str:
    if rollout.ended_at is not None:
        return f"{rollout.phase} at {clock(rollout.ended_at)}"
    share = ""
    if rollout.phase in ("watching", "probation"):
        share = f" at {100 * rollout.policy.steps[rollout.step].share:g} %"
    return f"{rollout.phase}{share}{', paused' if rollout.paused else ''} since {clock(rollout.phase_since)}"


def _finding(finding: Finding) -> str:
    words = f"{finding.gate:<9} {finding.outcome:<6} {finding.observed}"
    harm, fine = (f"{math.exp(min(value, 700)):.3g} : 1" for value in (finding.log_harm, finding.log_fine))
    needed = math.exp(finding.log_harm_needed), math.exp(finding.log_fine_needed)
    words += f"; evidence of harm {harm} ({needed[0]:.3g} decides), of none {fine} ({needed[1]:.3g} decides)"
    return words + (f"; about {finding.needs:,} more decide" if finding.needs else "")

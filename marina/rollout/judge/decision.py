"""The judge: evidence in, one of three verdicts out. A pure function, so that any verdict can be computed again.

It may be asked at any time and any number of times: what it guarantees holds for all looks together (docs/JUDGE.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from marina.rollout.judge.ab_test_gate import ABTestGate
from marina.rollout.judge.accuracy_gate import AccuracyGate
from marina.rollout.judge.evidence import Evidence
from marina.rollout.judge.f1_metric import F1Metric
from marina.rollout.judge.gate import TEST, Gate, Metric
from marina.rollout.judge.rate_gate import RateGate
from marina.rollout.policy.schema import Policy

Outcome = Literal["promote", "roll back", "keep watching"]

Found = Literal["harm", "fine", "worse", "better", "open"]

GATES = ("errors", "latency", "accuracy")
"""The names of the gates, in the order of their findings."""

BY_STEP = ("errors", "latency")
"""Gates that judge each of the policy's steps by itself. Labels come late, so accuracy is judged over all of them."""

FIRST_STEP = 0.75
"""The first step's part of the error budget of such a gate; the others, whose evidence comes faster, share the rest."""

FARTHEST = 1e6
"""No estimate of what is still needed looks further than this multiple of what there is."""


@dataclass(frozen=True)
class Finding:
    """What one gate finds.

    Attributes
    ----------
    gate
        Its name; ``test`` for the metric of an A/B test.
    outcome
        ``harm``, ``fine`` or ``open``; of a test ``worse``, ``better`` or ``open``.
    log_harm, log_fine
        Log e-values for either.
    log_harm_needed, log_fine_needed
        Where they are decided.
    observed
        What was seen, as text.
    needs
        About how many more observations of the canary decide it, if it continues as it did; None if it is decided, or
        nothing will decide it.
    missing
        What is missing before it can find no harm, as text after "needs"; empty when nothing is, or it is decided.
    """

    gate: str
    outcome: Found
    log_harm: float
    log_fine: float
    log_harm_needed: float
    log_fine_needed: float
    observed: str
    needs: int | None
    missing: str = ""

    @property
    def is_against(self) -> bool:
        """Whether it is a reason to roll back."""
        return self.outcome in ("harm", "worse")

    @property
    def is_in_favour(self) -> bool:
        """Whether it is a reason to promote."""
        return self.outcome in ("fine", "better")


@dataclass(frozen=True)
class Verdict:
    """What to do, and why."""

    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """The verdict in a sentence, for those who are responsible for it."""
        harmed = [one for one in self.findings if one.is_against]
        if harmed:
            return "roll back: " + "; ".join(_sentence(one) for one in harmed)
        if self.outcome == "roll back":
            return f"roll back: the test ended before either was shown to be better; {self.findings[-1].observed}"
        if self.outcome == "promote":
            return "promote: " + "; ".join(one.observed for one in self.findings if one.is_in_favour)
        waiting = [f"{one.gate} needs {_more(one)}" for one in self.findings if one.outcome == "open"]
        return "keep watching: " + "; ".join(waiting)


def decide(evidence: Evidence, policy: Policy) -> Verdict:
    """Judge a canary.

    Parameters
    ----------
    evidence
        What is known of the step that the rollout is in, and of labels since it began.
    policy
        Bounds and guarantees.

    Returns
    -------
    Verdict
        "roll back" as soon as one gate finds harm; "promote" once every required gate finds none; else "keep
        watching". No traffic is evidence of nothing. In a test the canary has to be shown to be better by the test's
        metric too; "roll back" also when it is shown to be worse, or neither is by the end.
    """
    gates = build_gates(policy)
    findings = [_find(gate, evidence, policy) for gate in gates]
    required = [finding for gate, finding in zip(gates, findings, strict=True) if gate.required]
    outcome: Outcome = "keep watching"
    if any(one.is_against for one in findings):
        outcome = "roll back"
    elif required and all(one.is_in_favour for one in required):
        outcome = "promote"
    elif policy.test and evidence.shared_s >= policy.test.ends_after_s:
        outcome = "roll back"
    return Verdict(outcome, tuple(findings))


def build_gates(policy: Policy) -> tuple[Gate, ...]:
    """Return the gates of a policy in the order of `GATES`, and its A/B test, if it has one, as the last."""
    errors, latency = RateGate.of_errors(policy.gates.errors), RateGate.of_latency(policy.gates.latency)
    accuracy = AccuracyGate.within(policy.gates.accuracy)
    if policy.test is None:
        return errors, latency, accuracy
    metrics: dict[str, Metric] = {"errors": errors, "latency": latency, "accuracy": accuracy, "f1": F1Metric()}
    return errors, latency, accuracy, ABTestGate(metrics[policy.test.metric])


def decides(policy: Policy, gate: str, step: int) -> tuple[float, float]:
    """Return the log e-values at which a gate finds harm, and none.

    Each guaranteed rate is divided evenly over the gates. Of that for harm a gate that judges each step by itself has a
    part for each. That for none needs no division: a canary has to pass every step, and is promoted by the last.
    """
    gates = len(GATES) + (policy.test is not None)
    metric = policy.test.metric if policy.test and gate == TEST else gate
    part = 1.0
    if metric in BY_STEP and len(policy.steps) > 1:
        part = FIRST_STEP if step == 0 else (1 - FIRST_STEP) / (len(policy.steps) - 1)
    return math.log(gates / policy.false_alarm_rate / part), math.log(gates / policy.false_promotion_rate)


def _find(gate: Gate, evidence: Evidence, policy: Policy) -> Finding:
    harm_needed, fine_needed = decides(policy, gate.name, evidence.step)
    harm, fine = gate.log_e_harm(evidence), gate.log_e_fine(evidence)
    outcome: Found = "open"
    if harm >= harm_needed:
        outcome = "worse" if gate.name == TEST else "harm"
    elif fine >= fine_needed:
        outcome = "better" if gate.name == TEST else "fine"
    needs = None
    if outcome == "open" and (count := gate.count(evidence)):
        times = min(
            _until(lambda more: gate.log_e_harm(more) >= harm_needed, evidence),
            _until(lambda more: gate.log_e_fine(more) >= fine_needed, evidence),
        )
        needs = None if math.isinf(times) else max(1, math.ceil((times - 1) * count))
    missing = gate.find_missing(evidence) if outcome == "open" else ""
    return Finding(gate.name, outcome, harm, fine, harm_needed, fine_needed, gate.observed(evidence), needs, missing)


def _until(decided: Callable[[Evidence], bool], evidence: Evidence) -> float:
    """Return how many times the evidence there is would decide, if it went on alike; infinity if none would."""
    low, high = 1.0, 4.0
    while not decided(evidence.scaled(high)):
        low, high = high, high * 4
        if high > FARTHEST:
            return math.inf
    while high / low > 1.05:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decided(evidence.scaled(middle)) else (middle, high)
    return high


def _sentence(finding: Finding) -> str:
    odds = math.exp(min(finding.log_harm, 700))
    needed = math.exp(finding.log_harm_needed)
    return f"{finding.observed} (evidence {odds:.3g} : 1, {needed:.3g} : 1 decides)"


def _more(finding: Finding) -> str:
    if finding.missing:
        return finding.missing
    if finding.needs is None:
        return "observations" if finding.log_harm == finding.log_fine else "a clearer difference"
    return f"about {finding.needs:,} more"

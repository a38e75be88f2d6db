"""The judge: evidence in, one of three verdicts out. A pure function, so that any verdict can be computed again.

It may be asked at any time and any number of times: what it promises holds for all looks together (docs/JUDGE.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from rollout.evidence import Arm, Evidence, Pairs
from rollout.gates import accuracy, errors, latency
from rollout.policy import Policy

Outcome = Literal["promote", "roll back", "keep watching"]

GATES: dict[str, ModuleType] = {"errors": errors, "latency": latency, "accuracy": accuracy}

FARTHEST = 1e6
"""No estimate of what is still needed looks further than so many times what there is."""


@dataclass(frozen=True)
class Finding:
    """What one gate finds.

    Attributes
    ----------
    gate
        Its name; ``test`` for the metric of an A/B test.
    outcome
        ``harm``, ``fine`` or ``open``. In a test ``fine`` is a canary that is better, ``harm`` one that is worse.
    log_harm, log_fine
        Log e-values for either.
    log_harm_needed, log_fine_needed
        Where they are decided.
    observed
        What was seen, in words.
    needs
        About how many more observations of the canary decide it, if it goes on as it did; None if it is decided, or
        nothing will decide it.
    """

    gate: str
    outcome: Literal["harm", "fine", "open"]
    log_harm: float
    log_fine: float
    log_harm_needed: float
    log_fine_needed: float
    observed: str
    needs: int | None


@dataclass(frozen=True)
class Verdict:
    """What to do, and why."""

    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """The verdict in a sentence, for whoever has to answer for it."""
        harmed = [one for one in self.findings if one.outcome == "harm"]
        if harmed:
            return "roll back: " + "; ".join(_sentence(one) for one in harmed)
        if self.outcome == "roll back":
            return f"roll back: the test ended before either was shown to be better; {self.findings[-1].observed}"
        if self.outcome == "promote":
            return "promote: " + "; ".join(one.observed for one in self.findings if one.outcome == "fine")
        waiting = [f"{one.gate} needs {_more(one)}" for one in self.findings if one.outcome == "open"]
        return "keep watching: " + "; ".join(waiting)


def decide(evidence: Evidence, policy: Policy) -> Verdict:
    """Judge a canary.

    Parameters
    ----------
    evidence
        All of it since the rollout began.
    policy
        Bounds and promises.

    Returns
    -------
    Verdict
        "roll back" as soon as one gate finds harm; "promote" once every required gate finds none; else "keep
        watching". No traffic is evidence of nothing. In a test the canary has to be shown to be better by the test's
        metric too; "roll back" also when it is shown to be worse, or neither is by the end.
    """
    findings = [_find(name, evidence, policy) for name in GATES]
    required = [one for one in findings if getattr(policy.gates, one.gate).required]
    if policy.test:
        findings.append(_find("test", evidence, policy))
        required.append(findings[-1])
    outcome: Outcome = "keep watching"
    if any(one.outcome == "harm" for one in findings):
        outcome = "roll back"
    elif required and all(one.outcome == "fine" for one in required):
        outcome = "promote"
    elif policy.test and evidence.shared_s >= policy.test.ends_after_s:
        outcome = "roll back"
    return Verdict(outcome, tuple(findings))


def decides(policy: Policy) -> tuple[float, float]:
    """Return the log e-values at which one gate finds harm, and none: each promised rate is divided evenly."""
    gates = len(GATES) + (policy.test is not None)
    return math.log(gates / policy.false_alarm_rate), math.log(gates / policy.false_promotion_rate)


def _find(name: str, evidence: Evidence, policy: Policy) -> Finding:
    module, bet_harm, bet_fine = _bets(name, policy)
    harm_needed, fine_needed = decides(policy)
    harm, fine = bet_harm(evidence), bet_fine(evidence)
    outcome: Literal["harm", "fine", "open"] = "open"
    if harm >= harm_needed:
        outcome = "harm"
    elif fine >= fine_needed:
        outcome = "fine"
    needs = None
    if outcome == "open" and (seen := module.count(evidence)):
        times = min(
            _until(lambda more: bet_harm(more) >= harm_needed, evidence),
            _until(lambda more: bet_fine(more) >= fine_needed, evidence),
        )
        needs = None if math.isinf(times) else max(1, math.ceil((times - 1) * seen))
    return Finding(name, outcome, harm, fine, harm_needed, fine_needed, module.observed(evidence), needs)


Bet = Callable[[Evidence], float]


def _bets(name: str, policy: Policy) -> tuple[ModuleType, Bet, Bet]:
    if name == "test" and policy.test:
        module = GATES[policy.test.metric]
        return module, module.behind, module.ahead
    module, gate = GATES[name], getattr(policy.gates, name)
    return module, lambda evidence: module.harm(evidence, gate), lambda evidence: module.fine(evidence, gate)


def _until(decided: Callable[[Evidence], bool], evidence: Evidence) -> float:
    """Return how many times the evidence there is would decide, if it went on alike; infinity if none would."""
    low, high = 1.0, 4.0
    while not decided(_times(evidence, high)):
        low, high = high, high * 4
        if high > FARTHEST:
            return math.inf
    while high / low > 1.05:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decided(_times(evidence, middle)) else (middle, high)
    return high


def _times(evidence: Evidence, factor: float) -> Evidence:
    def arm(one: Arm) -> Arm:
        return Arm(**{name: round(count * factor) for name, count in vars(one).items()})

    pairs = Pairs(**{name: round(count * factor) for name, count in vars(evidence.pairs).items()})
    return Evidence(arm(evidence.stable), arm(evidence.canary), pairs)


def _sentence(finding: Finding) -> str:
    odds = math.exp(min(finding.log_harm, 700))
    needed = math.exp(finding.log_harm_needed)
    return f"{finding.observed} (evidence {odds:.3g} : 1, {needed:.3g} : 1 decides)"


def _more(finding: Finding) -> str:
    if finding.needs is None:
        return "observations" if finding.log_harm == finding.log_fine else "a clearer difference"
    return f"about {finding.needs:,} more"

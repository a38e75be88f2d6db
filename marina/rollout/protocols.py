"""What the controller needs of its neighbours: evidence, a judge, a router, and someone to notify."""

from typing import Protocol

import sqlalchemy as sa

from marina.rollout.judge.decision import Verdict
from marina.rollout.judge.evidence import Evidence
from marina.rollout.policy.schema import Policy
from marina.rollout.rollouts import Rollout


class EvidenceSource(Protocol):
    """Knows how the versions of a rollout have fared; `marina.rollout.evidence_query.EvidenceQuery`."""

    def gather(self, connection: sa.Connection, rollout: Rollout, now: float) -> Evidence:
        """Return everything a rollout is judged by; `now` is in seconds since 1970."""


class Judge(Protocol):
    """Gives verdicts, and the same one on the same evidence; `marina.rollout.judge.decision.decide`."""

    def __call__(self, evidence: Evidence, policy: Policy, /) -> Verdict:
        """Judge a canary by its policy."""


class Router(Protocol):
    """Moves traffic at once, before that is written; `marina.serving.control_socket.ControlClient.retreat`."""

    def __call__(self, model: str, canary: str, stable: str, /) -> None:
        """Take all traffic of a model from its canary and give it to the stable version."""


class Notifier(Protocol):
    """Tells the operator what happened; `marina.processes.console.log`."""

    def __call__(self, message: str, /) -> None:
        """Pass a line of text on."""

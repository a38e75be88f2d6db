"""Accuracy: whether the canary is right less often than stable, or its answers are worse.

What is true of an answer may be known of its parts: then it has a loss from 0 to 1, and counts as right by what that
lets be of 1. So everything here is about losses between 0 and 1, of which a wrong label is the largest, and only their
sums are asked for: the logarithm of a bet on a loss is concave in it, so at least what the line between its values at 0
and 1 gives, which is what these sums are paid (the convexity of Hoeffding, 1963; bets as in Waudby-Smith & Ramdas,
2024). The evidence is never more than that of bets on each loss, and the same where each is 0 or 1.

Where both versions answered the same labelled requests, their answers are compared pair by pair, which takes far
fewer labels; else the shares of right answers of separate requests are. Either may decide. Of requests with a session
labels have to say that it is beyond the limit, and clients that it is the canary's doing, as in
`marina.rollout.judge.rate_gate`.

That no harm is done can be shown only where a canary that is always wrong would be found out: by enough labels of
stable's answers, of which more are right than may be lost. Where none is, labels are of something else.
"""

import math
from dataclasses import dataclass

from marina.rollout.judge import client_looks
from marina.rollout.judge.e_values import between, pairs_above
from marina.rollout.judge.either import either
from marina.rollout.judge.evidence import Counts, Evidence, Look, Pairs
from marina.rollout.policy.schema import AccuracyBounds


@dataclass(frozen=True)
class AccuracyGate:
    """Whether the canary is right less often than stable by more than may be.

    Attributes
    ----------
    limit, accept, required, least_labels
        As in the policy.
    """

    limit: float
    accept: float
    required: bool
    least_labels: int
    name: str = "accuracy"

    @staticmethod
    def within(bounds: AccuracyBounds) -> "AccuracyGate":
        """Return the gate with a policy's bounds."""
        return AccuracyGate(bounds.limit, bounds.accept, bounds.required, bounds.least_labels)

    def log_e_harm(self, evidence: Evidence) -> float:
        """Bet against "the canary is right at most the limit less often than stable"."""
        stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs_of_clients
        of_clients = min(_apart(stable.of_clients, canary.of_clients, self.limit), client_looks.behind(_look(evidence)))
        of_pairs = min(_lost(pairs, self.limit), client_looks.losing(evidence.looks.get("pairs")))
        apart = either(_apart(stable.alone, canary.alone, self.limit), of_clients)
        return either(apart, either(_lost(evidence.pairs_alone, self.limit), of_pairs))

    def log_e_fine(self, evidence: Evidence) -> float:
        """Bet against "the canary is right at least the accepted share less often than stable".

        Labels are counted one by one, as far as a client may count. Labels that show nothing of stable bet nothing.
        """
        stable, canary, pairs = evidence.stable.alone, evidence.canary.alone, evidence.pairs_alone
        wrong, of = [stable.labelled - stable.right, canary.labelled - canary.right], [stable.labelled, canary.labelled]
        if look := _look(evidence):
            for arm, crowd in enumerate((look.stable, look.canary)):
                wrong[arm] += look.times * crowd.wrong
                of[arm] += look.times * crowd.of
        worse, better, both = float(pairs.worse), float(pairs.better), float(pairs.worse + pairs.same + pairs.better)
        if look := evidence.looks.get("pairs"):
            worse += look.times * look.canary.wrong
            better += look.times * look.stable.wrong
            both += look.times * look.canary.of
        apart = paired = 0.0
        if self._tells(evidence.stable.right, evidence.stable.labelled):
            apart = float(between(wrong[1], of[1], wrong[0], of[0], -self.accept))
        if self._tells(evidence.pairs.stable_right, evidence.pairs.count):
            paired = float(pairs_above(better, both - worse - better, worse, -self.accept))
        return either(apart, paired)

    def find_missing(self, evidence: Evidence) -> str:
        """Return what is missing of stable's labels before no harm can be found; empty when nothing is."""
        stable, pairs = evidence.stable, evidence.pairs
        if self._tells(stable.right, stable.labelled) or self._tells(pairs.stable_right, pairs.count):
            return ""
        right, of = max((stable.labelled, stable.right), (pairs.count, pairs.stable_right))[::-1]
        if of < self.least_labels:
            missing = math.ceil(self.least_labels - of)
            none_right = f" (none of {of:,.0f} is right so far)" if of and not right else ""
            return f"about {missing:,} more label{'s' * (missing > 1)} of stable's answers{none_right}"
        return (
            f"more right answers of stable's: {right:,.0f} of {of:,.0f} were, over {100 * self.accept:g} % have to be "
            "(are labels written as the model writes its classes?)"
        )

    def _tells(self, right: float, of: float) -> bool:
        """Return whether stable's labels would show a canary that is always wrong."""
        return of >= self.least_labels and right > self.accept * of

    def log_e_worse(self, evidence: Evidence) -> float:
        """Bet against "the canary is right at least as often as stable"."""
        apart = either(_apart(evidence.stable.alone, evidence.canary.alone, 0.0), client_looks.behind(_look(evidence)))
        return either(apart, either(_lost(evidence.pairs_alone, 0.0), client_looks.losing(evidence.looks.get("pairs"))))

    def log_e_better(self, evidence: Evidence) -> float:
        """Bet against "the canary is right no more often than stable"."""
        pairs = evidence.pairs_alone
        apart = either(_apart(evidence.canary.alone, evidence.stable.alone, 0.0), client_looks.ahead(_look(evidence)))
        gained = float(pairs_above(pairs.better, pairs.same, pairs.worse, 0.0))
        return either(apart, either(gained, client_looks.losing(evidence.looks.get("pairs"), -1)))

    def observed(self, evidence: Evidence) -> str:
        """Return what was observed, as text."""
        stable, canary, pairs = evidence.stable, evidence.canary, evidence.pairs
        words = "right answers: "
        words += f"canary {_show(canary.right)} of {canary.labelled}, stable {_show(stable.right)} of {stable.labelled}"
        if (look := _look(evidence)) and look.canary.clients:
            words += f" ({look.canary.clients} clients, {look.stable.clients} of stable's)"
        if self.count(evidence) > canary.labelled:
            words += f"; in pairs {pairs.worse} worse, {pairs.better} better, {pairs.same} alike"
        return words

    def count(self, evidence: Evidence) -> float:
        """Return how many labels the gate has of the canary."""
        return evidence.canary.labelled + evidence.pairs.count


def _look(evidence: Evidence) -> Look | None:
    return evidence.looks.get("accuracy")


def _show(right: float) -> str:
    """Return a sum of answers' worth; a number of right answers is whole."""
    return str(right) if right == int(right) else f"{right:.1f}"


def _apart(more: Counts, less: Counts, by: float) -> float:
    """Bet against "the one is right at most that much more often than the other", label by label."""
    return float(between(less.right, less.labelled, more.right, more.labelled, by))


def _lost(pairs: Pairs, by: float) -> float:
    return float(pairs_above(pairs.worse, pairs.same, pairs.better, by))

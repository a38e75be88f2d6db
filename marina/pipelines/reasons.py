"""When a family is trained: new data, enough labels, a person's decision on an alarm, or drift where that is allowed.

An alarm that no one has decided about is no reason: it may be a feed that broke, and its rows nothing to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["data", "labels", "drift", "manual", "rules"]


@dataclass(frozen=True)
class Situation:
    """What is known of a family since its last training.

    Attributes
    ----------
    new_data
        Whether the data is not what its newest versions were trained on.
    labels
        Labels and truths that came since.
    retrain_alert
        Number of the alert that a person has since decided to answer with a training.
    drift
        Largest effect in the newest drift reports that found drift; 0 without.
    last_trained
        When the last automatic training began, in seconds since 1970; 0 without.
    same
        Whether a training of this data by this code was done already: another one would come out the same.
    """

    new_data: bool = False
    labels: int = 0
    retrain_alert: int | None = None
    drift: float = 0.0
    last_trained: float = 0.0
    same: bool = False


@dataclass(frozen=True)
class Reason:
    """Why a training is due.

    Attributes
    ----------
    kind
        Which of the five; rules that people edited are one only where that is asked for.
    why
        As text, for the ledger.
    mark
        What distinguishes it from an earlier reason of its kind; empty for data, whose hash does.
    """

    kind: Kind
    why: str
    mark: str = ""


def find_reason(found: Situation, least_labels: int, auto_retrain: bool, drift_threshold: float) -> Reason | None:
    """Return the first reason that holds; None where there is none.

    Parameters
    ----------
    least_labels
        That many labels since the last training are a reason.
    auto_retrain
        Whether drift beyond `drift_threshold` is one without a person's decision.
    """
    if found.new_data:
        return Reason("data", "the data has changed")
    if found.retrain_alert is not None:
        alert = f"alert {found.retrain_alert}"
        return Reason("drift", f"a person decided to retrain on {alert}", alert)
    after = f"after {found.last_trained}"
    if auto_retrain and found.drift > drift_threshold:
        return Reason("drift", f"drift {found.drift:.2f} is above {drift_threshold:.2f}", after)
    if found.labels >= least_labels and not found.same:  # labels that are not in the data yet teach nothing
        return Reason("labels", f"{found.labels:,} labels came since the last training", after)
    return None

"""Why a transaction is reported: facts that its user can check, each with the part of the score that it belongs to.

Reasons are read off the features and their evidence, not off the model. They say what is out of the ordinary; how much
that weighs is what the score would lose without the part.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.budget.anomaly_features import BURST_DAYS, FEATURES, Evidence
from models.budget.anomaly_history import History

Reason = dict[str, Any]

TWIN: Final = 0.3
"""Score of a twin from which a transaction is said to repeat it."""

DEVIATIONS: Final = 2.0
"""Robust standard deviations of a merchant's amounts, or of the user's, from which an amount is said to be off."""

SURPRISE: Final = 3.0
"""Exponent of the probability of so many transactions, from which they are said to be a burst: about one in twenty."""


def reasons(history: History, rows: NDArray[np.float32], evidence: Evidence, at: int) -> list[Reason]:
    """Return what is out of the ordinary about one judged transaction.

    Parameters
    ----------
    history, rows, evidence
        What it was judged by: `models.budget.anomaly_features.features`.
    at
        Which of the judged ones, from 0.

    Returns
    -------
    list of dict
        Each with its ``kind``, the ``part`` of the score it belongs to, and evidence:

        - ``duplicate``: ``original`` (position in the history), ``days_apart``, ``similarity`` of who was paid;
        - ``amount``: ``usual_eur`` (median) over ``visits`` to the merchant, ``deviations``, ``times_usual``;
        - ``large``: ``share_at_least_as_large`` of the user's earlier transactions, ``deviations`` from their median;
        - ``new_merchant``: ``similarity`` to the most similar one known, ``history`` rows known;
        - ``burst``: ``count`` within ``days``, ``at_merchant``, and ``per_day`` usually.

        Empty where no single thing is: then it is the combination that is rare.
    """
    value = dict(zip(FEATURES, rows[at].tolist(), strict=True))
    row = int(history.judged[at])
    found: list[Reason] = []
    if value["twin"] >= TWIN:
        twin = int(evidence.twin[at])
        found.append(
            {
                "kind": "duplicate",
                "part": "repetition",
                "original": twin,
                "days_apart": int(history.days[row] - history.days[twin]),
                "similarity": round(value["twin_similarity"], 2),
            }
        )
    if max(value["burst"], value["burst_merchant"]) >= SURPRISE and evidence.burst[at] > 2:
        found.append(
            {
                "kind": "burst",
                "part": "repetition",
                "count": int(evidence.burst[at]),
                "at_merchant": int(evidence.burst_merchant[at]),
                "days": BURST_DAYS,
                "per_day": round(float(evidence.per_day[at]), 2),
            }
        )
    if evidence.visits[at] > 1 and abs(value["amount_vs_merchant"]) >= DEVIATIONS:
        usual = float(evidence.usual[at])
        found.append(
            {
                "kind": "amount",
                "part": "profile",
                "usual_eur": round(usual, 2),
                "times_usual": round(abs(float(history.amounts[row])) / max(usual, 0.01), 2),
                "deviations": round(value["amount_vs_merchant"], 2),
                "visits": int(evidence.visits[at]),
            }
        )
    if value["amount_vs_user"] >= DEVIATIONS:
        found.append(
            {
                "kind": "large",
                "part": "profile",
                "share_at_least_as_large": round(value["amount_rank"], 4),
                "deviations": round(value["amount_vs_user"], 2),
            }
        )
    if evidence.visits[at] == 0 and row > 0:
        found.append(
            {
                "kind": "new_merchant",
                "part": "profile",
                "similarity": round(value["merchant_similarity"], 2),
                "history": row,
            }
        )
    return found

"""What a request for anomalies is like: the key features of the latest transaction that it has judged.

One transaction stands for a request, however many it has: so what is logged is spread as training's transactions are,
whether a client sends one or a hundred. The latest is the one that was compared with most.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.budget.anomaly_features import FEATURES
from models.budget.anomaly_history import History
from models.summary import key_numbers

SUMMARY: Final = (
    "twin",
    "days_since_merchant",
    "gap_vs_usual",
    "day_shift",
    "burst",
    "burst_merchant",
    "amount_vs_merchant",
    "merchant_spread",
    "amount_vs_user",
    "amount_rank",
    "merchant_new",
    "merchant_similarity",
    "new_words",
    "weekend",
    "incoming",
    "history_rows",
    "history_days",
)
"""Of `models.budget.anomaly_features.FEATURES`."""


def summarise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the key features, float32 [N, 17], of transactions' features float32 [N, F]."""
    return key_numbers(rows, FEATURES, SUMMARY)


def latest(rows: Sequence[NDArray[np.float32]], histories: Sequence[History]) -> NDArray[np.float32]:
    """Return the features of the latest transaction of each request, float32 [N, F].

    Parameters
    ----------
    rows, histories
        Of N requests: features float32 [P, F] of the judged transactions, and what they were compared with.
    """
    chosen = zip(rows, histories, strict=True)
    return np.stack([mine[int(history.judged.argmax())] for mine, history in chosen])

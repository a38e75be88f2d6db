"""Budget anomalies: a user's new transactions and recent ones in, a score, a verdict and reasons for each new one out.

An instance is one user; its transactions are the rows of the graph. Decoding compares them with the history, which is
most of what a request costs: about 0.6 ms for one transaction against 500, 1.3 ms for 50 against 450.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import validation as take
from handlers.base import Handler, Outputs
from handlers.budget.plausibility import unusual_transactions
from handlers.budget.transactions import Transactions, transactions
from handlers.decoding import describe
from handlers.errors import InvalidError
from models.budget.anomaly_features import FEATURES, PARTS, Evidence, features
from models.budget.anomaly_history import History, merchant_keys
from models.budget.anomaly_reasons import reasons
from models.budget.anomaly_summary import latest, summarise
from models.budget.labels import parsed

VERDICTS = ("normal", "suspicious", "anomalous")


@dataclass(frozen=True)
class Judged:
    """One user's request.

    Attributes
    ----------
    sent
        History first, then the transactions to be judged.
    order
        int64 [N], the position in `sent` of each row of the history.
    history, rows, evidence
        What the judged ones were compared with, their features float32 [P, F] and what these rest on.
    thresholds
        From which score on a transaction is suspicious, and anomalous.
    """

    sent: Transactions
    order: NDArray[np.int64]
    history: History
    rows: NDArray[np.float32]
    evidence: Evidence
    thresholds: tuple[float, float]


class BudgetAnomalyHandler(Handler[Judged]):
    """Answers `{"transactions": [{"label", "amount", "date"}, …], "history": […], "thresholds": {…}}`."""

    fields = frozenset({"transactions", "history", "thresholds"})
    max_instances = 64

    def opened(self, folder: Path) -> None:
        """Read what is usual: the medians that a part or a feature is replaced by to see what it does."""
        with np.load(folder / "reference.npz", allow_pickle=False) as reference:
            self._usual = reference["usual"].astype(np.float32)

    def decode(self, fields: dict[str, Any]) -> Judged:
        """Validate one user's transactions and compare them with what came before."""
        new = transactions(fields, "transactions", self.contract.limits["transactions"], least=1)
        old = transactions(fields, "history", self.contract.limits["history"])
        thresholds = self._thresholds(fields)
        sent = Transactions(
            old.labels + new.labels,
            old.dates + new.dates,
            [],
            np.concatenate([old.amounts, new.amounts]),
            np.concatenate([old.days, new.days]),
        )
        order = np.argsort(sent.days, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        keys = merchant_keys(sent.labels)
        history = History([keys[at] for at in order.tolist()], sent.days[order], sent.amounts[order], place[len(old) :])
        rows, evidence = features(history)
        return Judged(sent, order, history, rows, evidence, thresholds)

    def find_unusual(self, items: Sequence[Judged]) -> Sequence[Sequence[take.Unusual]]:
        """Return what is odd about amounts, signs and days, by its place in the request."""
        return [self._unusual(item) for item in items]

    def _unusual(self, item: Judged) -> list[take.Unusual]:
        sent, old = item.sent, len(item.sent) - len(item.rows)
        operations = parsed(sent.labels).operations
        found = unusual_transactions(self.contract.usual, sent.amounts, sent.days, operations)
        places = [f"history[{at}]" if at < old else f"transactions[{at - old}]" for at in range(len(found))]
        return [
            take.Unusual(f"{place}.{one.field}", one.message)
            for place, mine in zip(places, found, strict=True)
            for one in mine
        ]

    def rows(self, item: Judged) -> int:
        """Return the number of transactions to judge."""
        return len(item.rows)

    def prepare(self, items: Sequence[Judged]) -> dict[str, NDArray[Any]]:
        """Stack the rows of all users: ``features`` float32 [rows, F]."""
        return {"features": np.concatenate([item.rows for item in items])}

    def phrase(self, outputs: Outputs, items: Sequence[Judged], top_k: Sequence[int]) -> list[Any]:
        """Return each user's transactions in the order they were sent, with what speaks against the reported ones."""
        scores, withouts = outputs["score"][:, 0].astype(np.float64), outputs["without"].astype(np.float64)
        answers, start = [], 0
        for item in items:
            mine = slice(start, start := start + len(item.rows))
            answers.append(self._answer(item, scores[mine], withouts[mine]))
        return answers

    def summarise(self, items: Sequence[Judged], outputs: Outputs) -> NDArray[np.float32]:
        """Return the key features of each user's latest transaction."""
        return summarise(latest([item.rows for item in items], [item.history for item in items]))

    def explain(self, item: Judged) -> dict[str, Any]:
        """Attribute each transaction's score to its features by occlusion (Zeiler & Fergus, 2014).

        Each feature in turn is replaced by its median over usual transactions; what the score loses by that is the
        feature's share. Costs one forward pass of as many rows per transaction as there are features, and one more.
        """
        width = item.rows.shape[1]
        hidden = np.repeat(item.rows[:, None, :], width + 1, axis=1)  # (P, F + 1, F)
        hidden[:, np.arange(1, width + 1), np.arange(width)] = self._usual
        answers = self.engine.run({"features": hidden.reshape(-1, width)})["score"].reshape(-1, width + 1)
        lost = answers[:, :1].astype(np.float64) - answers[:, 1:]
        return {
            "method": "occlusion: the feature replaced by its median over usual transactions",
            "transactions": [
                {"score": float(score), "attributions": dict(zip(FEATURES, shares, strict=True))}
                for score, shares in zip(answers[:, 0], lost.tolist(), strict=True)
            ],
        }

    def _thresholds(self, fields: dict[str, Any]) -> tuple[float, float]:
        asked = fields.get("thresholds")
        usual = self.contract.thresholds
        if asked is None:
            return usual["suspicious"], usual["anomalous"]
        if type(asked) is not dict:
            raise InvalidError("thresholds", "an object", describe(asked))
        try:
            if unknown := sorted(asked.keys() - usual.keys()):
                raise InvalidError(unknown[0][:64], f"only {', '.join(sorted(usual))}", describe(asked[unknown[0]]))
            suspicious, anomalous = (take.number(asked, name, 0.0, 1.0, None) for name in VERDICTS[1:])
            if suspicious is None:
                suspicious = usual["suspicious"] if anomalous is None else min(usual["suspicious"], anomalous)
            if anomalous is None:
                anomalous = max(usual["anomalous"], suspicious)
            if suspicious > anomalous:
                raise InvalidError("anomalous", f"at least what is suspicious, {suspicious:.6g}", f"{anomalous:.6g}")
        except InvalidError as error:
            raise error.inside("thresholds") from None
        return suspicious, anomalous

    def _answer(self, item: Judged, score: NDArray[np.float64], without: NDArray[np.float64]) -> dict[str, Any]:
        verdicts = np.searchsorted(np.array(item.thresholds), score, side="right")
        rows = [
            {"score": value, "verdict": VERDICTS[verdict], "reasons": []}
            for value, verdict in zip(score.tolist(), verdicts.tolist(), strict=True)
        ]
        for at in np.flatnonzero(verdicts).tolist():
            less = dict(zip(PARTS, without[at].tolist(), strict=True))
            found = reasons(item.history, item.rows, item.evidence, at)
            for reason in found:
                if "original" in reason:
                    reason["original"] = self._original(item, reason["original"])
            weighty = sorted(less, key=less.__getitem__)  # what the score needs most comes first
            found = [reason for part in weighty for reason in found if reason["part"] == part]
            rows[at] |= {
                "reasons": found or [{"kind": "combination", "part": weighty[0]}],
                "score_without": less,
            }
        suspicious, anomalous = item.thresholds
        return {
            "transactions": rows,
            "reported": int(np.count_nonzero(verdicts)),
            "thresholds": {"suspicious": suspicious, "anomalous": anomalous},
        }

    @staticmethod
    def _original(item: Judged, row: int) -> dict[str, Any]:
        """Return a row of the history as its sender knows it."""
        at = int(item.order[row])
        old = len(item.sent) - len(item.rows)
        where, index = ("history", at) if at < old else ("transactions", at - old)
        sent = item.sent
        return {
            "in": where,
            "index": index,
            "label": sent.labels[at],
            "amount": float(sent.amounts[at]),
            "date": sent.dates[at],
        }

"""Transactions as sparse rows to learn from, and the way back: a model's weights as the table that a graph reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from models.budget.categories import BUCKETS, TEXT, Scaling, bag
from models.budget.labels import Parsed, parsed
from models.text import hashed, inverse_frequency

if TYPE_CHECKING:
    import pandas as pd

SCALE = 0.2
"""An n-gram's inverse document frequency lies between 1 and 11: this brings most of them near 1."""


@dataclass(frozen=True)
class Transactions:
    """Transactions: labels parsed, amounts float64 [N] in EUR, days int64 [N] since 1970, users, accounts str [N]."""

    parsed: Parsed
    amounts: npt.NDArray[np.float64]
    days: npt.NDArray[np.int64]
    users: npt.NDArray[Any]
    accounts: npt.NDArray[Any]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Transactions:
        """Return a table's transactions: columns label, amount, date, and user if there is one."""
        users, accounts = (
            frame[name].to_numpy().astype(str) if name in frame else np.full(len(frame), "")
            for name in ("user", "account")
        )
        return cls(
            parsed(frame["label"].tolist()),
            frame["amount"].to_numpy(np.float64),
            frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64),
            users,
            accounts,
        )

    def __len__(self) -> int:
        return len(self.amounts)

    def select(self, rows: npt.NDArray[Any]) -> Transactions:
        """Return some of them, by position or by a mask."""
        positions = np.arange(len(self))[rows]
        texts = [self.parsed.texts[at] for at in positions.tolist()]
        return Transactions(
            Parsed(self.parsed.operations[rows], texts),
            self.amounts[rows],
            self.days[rows],
            self.users[rows],
            self.accounts[rows],
        )

    @property
    def owners(self) -> list[tuple[str, str]]:
        """Account and user of each."""
        return list(zip(self.accounts.tolist(), self.users.tolist(), strict=True))

    def anonymous(self) -> Transactions:
        """Return the same transactions, not known whose they are."""
        empty = np.full(len(self), "")
        return replace(self, users=empty, accounts=empty)


@dataclass(frozen=True)
class SparseRows:
    """What estimators take: float32 CSR [N, BUCKETS], and whose each row is, str [N]; selected like an array."""

    matrix: Any
    users: npt.NDArray[Any]

    def __getitem__(self, rows: npt.NDArray[Any]) -> SparseRows:
        return SparseRows(self.matrix[rows], self.users[rows])

    def __len__(self) -> int:
        return int(self.matrix.shape[0])


@dataclass(frozen=True)
class Vectorizer:
    """Turns transactions into rows: `scaling` of amounts, `frequency` float32 [BUCKETS] that each column is times."""

    scaling: Scaling
    frequency: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, bank: Transactions) -> Vectorizer:
        """Learn what is usual from transactions to train on."""
        offsets, buckets, _ = hashed(bank.parsed.texts, TEXT)
        frequency = np.ones(BUCKETS, np.float32)
        frequency[: TEXT.buckets] = inverse_frequency(offsets, buckets, TEXT) * SCALE
        return cls(Scaling.fit(bank.amounts), frequency)

    def rows(self, bank: Transactions) -> SparseRows:
        """Return the rows of transactions."""
        indices, weights = bag(bank.parsed, bank.amounts, bank.days, self.scaling, bank.owners)
        count, longest = indices.shape
        offsets = np.arange(count + 1) * longest
        values = (weights * self.frequency[indices]).ravel()
        matrix = sparse.csr_matrix((values, indices.ravel(), offsets), shape=(count, BUCKETS), dtype=np.float32)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return SparseRows(matrix, bank.users)

    def table(self, weights: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the table that a graph reads, [BUCKETS, outputs], of a linear model's weights on rows."""
        return (weights * self.frequency[:, None]).astype(np.float32)

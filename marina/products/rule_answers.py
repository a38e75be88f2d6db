"""Transactions that rules answer in this process, without asking a model.

The rules, and from which confidence on they are enough, are those of the categorizer that serves: they travel in its
archive. Some 20 µs a transaction with its label parsed.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from archives.archive import open_archive
from archives.contract import ArchiveError
from marina.database.connection import AWAY, Database
from marina.database.tables import DECLARATIONS
from marina.products.schemas import Transaction
from marina.releases.declarations import copy_name
from models.budget.labels import OPERATIONS, parsed
from models.budget.merchants import Merchants, Profile
from models.budget.rules import RuleSet, read_rules

MODEL = "budget_categorizer"

LOOK_AGAIN_S = 2.0
"""How often it is looked whether another categorizer serves."""


@dataclass(frozen=True)
class Rules:
    """The rules of one archive.

    Attributes
    ----------
    version, digest
        Which categorizer they travelled in.
    sure
        Confidence from which on a rule answers alone.
    """

    version: str
    digest: str
    rules: RuleSet
    merchants: Merchants
    sure: float

    def answer(self, transactions: Sequence[Transaction]) -> list[dict[str, Any]]:
        """Say of each transaction what the best rule says; `source` is ``rule`` where it is sure, else ``fallback``."""
        labels = parsed([one.label or "" for one in transactions])
        amounts = np.array([one.amount for one in transactions], np.float64)
        days = np.array([one.date for one in transactions], "datetime64[D]")
        answers: list[dict[str, Any]] = []
        best = self.rules.fire(labels, amounts, days).best(len(transactions)).tolist()
        for rank, text, operation in zip(best, labels.texts, labels.operations.tolist(), strict=True):
            rule = self.rules.rules[rank] if rank >= 0 else None
            merchant = self.merchants.find(text)
            sure = rule is not None and rule.confidence >= self.sure
            why = f"rule {rule.name} {'fires' if sure else 'is not sure'}, confidence {rule.confidence}" if rule else ""
            answers.append(
                {
                    "label": rule.category if rule else None,
                    "probability": rule.confidence if rule else 0.0,
                    "source": "rule" if sure else "fallback",
                    "why": why or "no rule fires",
                    "rule": rule.name if rule else None,
                    "operation": OPERATIONS[operation],
                    "merchant": merchant.name if merchant else None,
                    "top": [],
                }
            )
        return answers


class RuleAnswers:
    """Knows the rules that are in force.

    Parameters
    ----------
    database
        Where the declarations are.
    copies
        Folder of the declared archives.
    """

    def __init__(self, database: Database, copies: Path) -> None:
        self._database = database
        self._copies = copies
        self._rules: Rules | None = None
        self._looked_at = -LOOK_AGAIN_S
        self._lock = threading.Lock()

    @property
    def due(self) -> bool:
        """Whether it is time to look again, and no one does."""
        return time.monotonic() - self._looked_at >= LOOK_AGAIN_S and not self._lock.locked()

    @property
    def rules(self) -> Rules | None:
        """The rules in force, as far as is known; None before a categorizer is declared."""
        return self._rules

    def look(self) -> Rules | None:
        """Look which categorizer has most of the requests, and read its rules where it is another.

        One looks at a time; who comes meanwhile gets those that were known.
        """
        if not self._lock.acquire(blocking=False):
            return self._rules
        try:
            chosen = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == MODEL, DECLARATIONS.c.weight > 0)
            with self._database.reading() as connection:
                row = connection.execute(chosen.order_by(DECLARATIONS.c.weight.desc())).first()
            if row is not None and (self._rules is None or self._rules.digest != row.sha256):
                self._rules = self._read(str(row.version), str(row.sha256), Path(str(row.archive)))
        except (*AWAY, ArchiveError, OSError):
            pass  # those that were known stay in force
        finally:
            self._looked_at = time.monotonic()
            self._lock.release()
        return self._rules

    def _read(self, version: str, digest: str, archive: Path) -> Rules:
        copy = self._copies / copy_name(MODEL, version, digest)
        opened = open_archive(copy if copy.exists() else archive, known=digest)
        family = opened.json("family.json")
        return Rules(
            version,
            digest,
            read_rules(family["rules"]),
            Merchants(Profile.read(one) for one in family["merchants"]),
            float(opened.contract.thresholds["rule"]),
        )

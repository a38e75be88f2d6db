"""The columns of bank exports by their headings, and the amount of a row from them.

Known are the generic French and English headings and those of Revolut, N26, BoursoBank, Crédit Agricole, La Banque
Postale, Société Générale, BNP Paribas, Caisse d'Épargne, Crédit Mutuel, Fortuneo, ING and Wise, as their exports had
them in 2024.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from training.data.reading.columns import Column, simplify
from training.data.reading.decisions import FEW
from training.data.reading.table import Table

COLUMNS: Final = (
    Column(
        "date",
        "day",
        (
            "Date opération", "Date de l'opération", "Date d'opération", "dateOp", "Date de comptabilisation",
            "Booking Date", "Completed Date", "Date de fin", "Transaction Date", "Posting Date", "Date comptable",
            "Date de valeur", "Date valeur", "Value Date", "dateVal", "Started Date", "Date de début", "Jour", "Day",
        ),
    ),
    Column(
        "label",
        "text",
        (
            "Libellé", "Libellé simplifié", "Libellé opération", "Libellé de l'opération", "Description",
            "Payee", "Partner Name", "Bénéficiaire", "Nom du partenaire", "Name / Description", "Détail de l'écriture",
            "Intitulé", "Opération", "Nature de l'opération", "Details", "Narrative", "Counter Party", "Merchant Name",
            "Name", "Transaction Description", "Memo", "Texte", "Communication",
        ),
    ),
    Column(
        "amount",
        "number",
        (
            "Montant", "Montant de l'opération", "Montant opération", "Montant en euros", "Transaction Amount", "Value",
            "Somme", "Betrag",
        ),
        instead=("debit", "credit"),
    ),
    Column("debit", "number", ("Montant débit", "Débit euros", "Debit Amount", "Paid out", "Money Out", "Withdrawals",
                               "Withdrawal", "Sortie", "Dépense", "Dépenses"), required=False),
    Column("credit", "number", ("Montant crédit", "Crédit euros", "Credit Amount", "Paid in", "Money In", "Deposits",
                                "Deposit", "Entrée", "Recette", "Recettes"), required=False),
    Column("direction", "text", ("Debit/credit", "Débit/Crédit", "Sens", "Af Bij"), required=False),
    Column("currency", "text", ("Devise", "Monnaie"), required=False),
    Column("state", "text", ("État", "Status", "Statut"), required=False),
    Column("user", "text", ("Utilisateur",), required=False),
    Column("account", "text", ("Compte", "accountNum", "Account Name", "Nom du compte"), required=False),
    Column("category", "text", ("Catégorie",), required=False),
    Column("merchant", "text", ("Marchand", "Commerçant"), required=False),
)  # fmt: skip

OUT: Final = frozenset({"debit", "d", "dr", "dbit", "af", "out", "sortie"})
IN: Final = frozenset({"credit", "c", "cr", "crdt", "bij", "in", "entree"})
NOT_BOOKED: Final = frozenset({
    "reverted", "pending", "declined", "failed", "cancelled", "canceled", "rejected", "annule", "annulee", "enattente",
    "avenir", "refuse", "refusee", "rejete", "rejetee",
})  # fmt: skip
"""Simplified words of directions and states (`simplify`)."""


def complete_amounts(table: Table) -> None:
    """Give a table its amounts, negative when spent, and refuse rows of which they are not clear.

    A pair of debit and credit becomes one amount; a column that says which it is gives the sign. Rows that were never
    booked, or are in another currency than the rest, are refused: their amounts cannot be added to the others.
    """
    if "amount" not in table.frame:
        _join_pair(table)
    if "direction" in table.frame:
        _sign(table)
    if "state" in table.frame:
        states = table.frame["state"].map(simplify)
        wrong = table.frame.index[states.isin(NOT_BOOKED)]
        kept = sorted({text for text in table.frame["state"][~states.isin(NOT_BOOKED)].astype(str) if text.strip()})
        table.account.rules.append(f"state: taken as booked: {', '.join(kept[:8]) or 'none'}")
        table.refuse(dict.fromkeys(wrong.tolist(), ("not booked", "expected a booked transaction")), "state")
    if "currency" in table.frame:
        _keep_one_currency(table)
    amounts = table.frame["amount"]
    if len(amounts) and not (amounts < 0).any():
        table.account.rules.append("beware: no amount is negative; what was spent should be")


def _join_pair(table: Table) -> None:
    debit, credit = (table.frame.get(name) for name in ("debit", "credit"))
    nothing = pd.Series(0.0, table.frame.index)
    out, into = (nothing if one is None else one.fillna(0.0) for one in (debit, credit))
    filled = out[out != 0]
    signed = bool(len(filled)) and float((filled < 0).mean()) >= 1 - FEW
    rule = "credit + debit (debits are negative)" if signed else "credit - debit"
    table.account.rules.append(f"amount: {rule}")
    wrong = {}
    for row in table.frame.index[(out != 0) & (into != 0)].tolist():
        wrong[row] = ("debit and credit", "expected one of debit and credit")
    for row in table.frame.index[(out == 0) & (into == 0)].tolist():
        wrong[row] = ("no amount", "expected a debit or a credit")
    for row in out.index[(out > 0) if signed else (out < 0)].tolist():
        wrong.setdefault(row, ("another sign", "expected debits of one sign, as in the rest of the column"))
    table.frame["amount"] = into + out if signed else into - out
    table.refuse(wrong, "debit" if debit is not None else "credit")


def _sign(table: Table) -> None:
    ways = table.frame["direction"].map(simplify)
    out, amounts = ways.isin(OUT), table.frame["amount"]
    if out.any() and (amounts[out] <= 0).all():  # the amounts have signs of their own
        return
    wrong = dict.fromkeys(
        table.frame.index[~ways.isin(OUT | IN)].tolist(), ("no direction", "expected debit or credit")
    )
    for row in table.frame.index[amounts < 0].tolist():
        wrong.setdefault(row, ("another sign", "expected no sign beside a column that says debit or credit"))
    table.frame["amount"] = np.where(out, -amounts, amounts)
    table.account.rules.append("amount: negative where the column of directions says debit")
    table.refuse(wrong, "direction")


def _keep_one_currency(table: Table) -> None:
    currencies = table.frame["currency"].str.strip().str.upper()
    counts = currencies[currencies != ""].value_counts()
    if counts.empty:
        return
    usual = counts.index[0]
    table.account.rules.append(f"currency: {usual}")
    wrong = table.frame.index[~currencies.isin([usual, ""])].tolist()
    table.refuse(dict.fromkeys(wrong, ("another currency", f"expected {usual}")), "currency")

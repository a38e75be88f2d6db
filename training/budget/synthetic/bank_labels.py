"""How French banks write a transaction: ten house styles, truncated, in capitals without accents, with typos.

A style is a template per operation. Fields: ``m`` who was paid, ``c`` the city with a space before it or nothing, ``d``
the day of the purchase (which lies before the day of the booking), ``k`` the card's last digits, ``r`` a reference,
``w`` the words that came with a transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

OPERATIONS: Final = ("card", "debit", "transfer_out", "transfer_in", "cash", "fee", "cheque", "refund")
"""Kinds of booking: card payment, direct debit, transfers, cash withdrawal, bank fee, cheque, card refund."""


@dataclass(frozen=True)
class Style:
    """One bank's way: a template per operation, the day's format, and where a label is cut off (0: nowhere)."""

    bank: str
    day: str
    longest: int
    templates: dict[str, str]
    capitals: bool = True
    longest_merchant: int = 0


def _style(
    bank: str, day: str, longest: int, *templates: str, capitals: bool = True, longest_merchant: int = 0
) -> Style:
    return Style(bank, day, longest, dict(zip(OPERATIONS, templates, strict=True)), capitals, longest_merchant)


STYLES: Final = (
    _style(
        "parisienne", "%d%m%y", 0,
        "FACTURE CARTE DU {d} {m}{c} CARTE 4974XXXXXXXX{k}",
        "PRLV SEPA {m} ECH/{d} ID EMETTEUR/FR{r} MDT/{r} REF/{r}",
        "VIREMENT SEPA EMIS /MOTIF {w} /BEN {m} /REFDO {r}",
        "VIREMENT SEPA RECU /DE {m} /MOTIF {w} /REF {r}",
        "RETRAIT DAB {d} {m}{c} CARTE 4974XXXXXXXX{k}",
        "{m} {r}", "CHEQUE {r}", "REMBOURST CB DU {d} {m}{c} CARTE 4974XXXXXXXX{k}",
    ),
    _style(
        "rouge", "%d/%m", 0,
        "CARTE X{k} {d} {m}{c}",
        "PRELEVEMENT EUROPEEN {r} DE: {m} ID: FR{r} MOTIF: {w}",
        "VIR EUROPEEN EMIS {r} POUR: {m} MOTIF: {w}",
        "VIR RECU {r} DE: {m} MOTIF: {w}",
        "CARTE X{k} RETRAIT DAB {m} {d} 10H32{c} {r}",
        "{m}", "CHEQUE {r}", "CARTE X{k} {d} CR {m}{c}",
    ),
    _style(
        "agricole", "%d/%m", 60,
        "PAIEMENT PAR CARTE X{k} {m}{c} {d}",
        "PRELEVEMENT {m} {w}",
        "VIREMENT EMIS {m} {w}",
        "VIREMENT EN VOTRE FAVEUR {m} {w}",
        "RETRAIT AU DISTRIBUTEUR X{k} {m}{c} {d}",
        "{m}", "CHEQUE EMIS {r}", "AVOIR CARTE X{k} {m}{c} {d}",
    ),
    _style(
        "lyonnaise", "%d/%m/%y", 32,
        "CB {m}{c} {d}", "PRLV SEPA {m} {w}", "VIR SEPA {m} {w}", "VIR {m} {w}", "RETRAIT DU {d} {m}{c}",
        "{m}", "CHQ. {r}", "AVOIR CB {m} {d}",
    ),
    _style(
        "mutuelle", "%d%m", 0,
        "PAIEMENT CB {d}{c} {m} CARTE {r}",
        "PRLV SEPA {m} {r}", "VIR {m} {w}", "VIR {m} {w}", "RETRAIT DAB {d}{c} {m} CARTE {r}",
        "{m}", "CHEQUE {r}", "REMB CB {d}{c} {m} CARTE {r}", longest_merchant=20,
    ),
    _style(
        "sans contact", "%d%m", 40,
        "PAIEMENT PSC {d}{c} {m} CARTE {r}",
        "PRLV {m} {r}", "VIR INST {m} {w}", "VIR DE {m} {w}", "RETRAIT GAB {d}{c} CARTE {r}",
        "{m}", "CHEQUE {r}", "ANNUL CB {d}{c} {m}", longest_merchant=18,
    ),
    _style(
        "postale", "%d.%m.%y", 0,
        "ACHAT CB {m}{c} {d} CARTE NUMERO {k}",
        "PRELEVEMENT DE {m} REF : {r}", "VIREMENT POUR {m} {w} REFERENCE : {r}", "VIREMENT DE {m} {w} REFERENCE : {r}",
        "RETRAIT {d}{c} CARTE NUMERO {k}",
        "{m}", "CHEQUE N {r}", "CREDIT CARTE BANCAIRE {m}{c} {d}",
    ),
    _style(
        "épargne", "%d%m%y", 36,
        "CB {m} FACT {d}", "PRLV {m}", "VIR SEPA {m} {w}", "VIR SEPA {m} {w}", "RETRAIT DAB{c} {d}",
        "*{m}", "CHEQUE N {r}", "AVOIR {m} FACT {d}",
    ),
    _style(
        "en ligne", "%d/%m/%y", 0,
        "CARTE {d} {m}{c} CB*{k}", "PRLV SEPA {m}", "VIR SEPA {m} {w}", "VIR INST {m} {w}",
        "RETRAIT DAB {d} {m}{c} CB*{k}", "*{m}", "CHQ. {r}", "AVOIR {d} {m}{c} CB*{k}",
    ),
    _style(
        "néobanque", "%d/%m", 0,
        "{m}", "{m}", "Virement à {m} {w}", "Virement de {m} {w}", "Retrait DAB{c}", "{m}",
        "Chèque {r}", "Remboursement {m}", capitals=False,
    ),
)  # fmt: skip

_TYPING: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DAY_CODES: Final = "dmy"


def render(
    rng: np.random.Generator,
    style: Style,
    operations: Sequence[str],
    merchants: Sequence[str],
    cities: Sequence[str],
    motives: Sequence[str],
    days: npt.NDArray[np.datetime64],
    card: str,
    typos: float,
) -> list[str]:
    """Write one user's transactions as the bank would.

    Parameters
    ----------
    rng
        The user's.
    style
        The bank's.
    operations, merchants, cities, motives
        Of each transaction; a city or motive may be empty.
    days
        Booking days, datetime64[D] [N].
    card
        The card's last four digits.
    typos
        Share of labels with a letter lost, doubled, swapped or mistaken.

    Returns
    -------
    list of str, length N
    """
    count = len(operations)
    bought = _days(days - rng.integers(0, 4, count).astype("timedelta64[D]"), style.day)
    numbers = rng.integers(10**6, 10**8, count).tolist()
    stores = np.where(rng.random(count) < 0.18, rng.integers(10, 10_000, count), 0).tolist()
    shown = (rng.random(count) < 0.85).tolist()  # a city is not always there
    wrong = (rng.random(count) < typos).tolist()
    labels = []
    for operation, merchant, city, motive, day, number, store, seen, typo in zip(
        operations, merchants, cities, motives, bought, numbers, stores, shown, wrong, strict=True
    ):
        name = _typo(rng, merchant) if typo else merchant
        if store and city and operation == "card":
            name = f"{name} {store}"
        if style.longest_merchant:
            name = name[: style.longest_merchant].rstrip()
        where = f" {city}" if city and seen else ""
        label = style.templates[operation].format(m=name, c=where, d=day, k=card, r=number, w=motive)
        label = " ".join(label.split())
        label = label.upper() if style.capitals else _soft(label)
        labels.append(label[: style.longest].rstrip() if style.longest else label)
    return labels


def _days(days: npt.NDArray[np.datetime64], form: str) -> list[str]:
    text = np.datetime_as_string(days, unit="D").tolist()
    for code in form.replace("%", ""):
        form = form.replace(f"%{code}", f"{{{code}}}") if code in _DAY_CODES else form
    return [form.format(d=day[8:10], m=day[5:7], y=day[2:4]) for day in text]


def _typo(rng: np.random.Generator, text: str) -> str:
    at, kind = int(rng.integers(max(1, len(text) - 1))), int(rng.integers(4))
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at : at + 1] + text[at:]
    if kind == 2:
        return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]
    return text[:at] + _TYPING[int(rng.integers(26))] + text[at + 1 :]


def _soft(text: str) -> str:
    # words of a neobank are in title case, as merchants registered them
    return " ".join(
        word if any(mark in word for mark in ".*") else word[:1].upper() + word[1:].lower() for word in text.split()
    )

"""Synthetic French household accounts: one row per transaction, as a bank exports them.

Households differ in income, family, car, city, bank and habits. Spending follows the season, the week, inflation and
noise; contracts are paid monthly and grow dearer; merchants are chains, local shops of the town, and shops met once.
Labels are in the bank's style, cut off, with typos. It is as hard as the real thing in the ways that matter for
categories: 45 % of local names say nothing of what is sold (``SARL MARTIN``, ``SUMUP *DURAND``), a fifth of the chains
are brands no rule knows, Amazon is in eight categories, a supermarket's label may be fuel, a cheque's says
nothing. `docs/families/budget.md` says what plain models reach on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.budget.synthetic.bank_labels import STYLES, render
from training.budget.synthetic.card_spending import (
    HABITS,
    Flow,
    Household,
    Months,
    household,
    months_from,
    spending,
)
from training.budget.synthetic.recurring_payments import contracts_of, housing, income, transfers

CATEGORIES: Final = (
    "abonnements", "alimentation", "animaux", "assurances", "beaute", "carburant", "energie", "enfants", "epargne",
    "frais_bancaires", "habillement", "high_tech", "impots", "logement", "loisirs", "maison", "remboursements",
    "restaurants", "retraits", "revenus", "sante", "telecom", "transport", "virements", "voyages",
)  # fmt: skip
"""Every category, sorted."""

ANOMALIES: Final = ("duplicate", "amount", "merchant", "burst")
"""Kinds of injected anomaly: charged twice, a multiple of the usual amount, a stranger abroad, several in two days."""

COLUMNS: Final = ("user", "date", "label", "amount", "account", "category", "merchant", "anomaly")

_STRANGERS: Final = (
    "GLOBALPAY LTD", "CRYPTEX MARKET", "WWW.LUXDEALS.SHOP", "TRANSFERGO VILNIUS", "AB GAMES CURACAO", "SHENZHEN TRADE",
    "QWIKCASH", "EZPAY INTL", "MKTPLACE DUBAI", "NEOBET MT", "G2A RESELLER HK", "FASTVISA SERVICE", "HOLIDAY PROMO CY",
)  # fmt: skip


@dataclass(frozen=True)
class Synthesis:
    """What to synthesise; everything follows from `seed`, and a household from (`seed`, its number).

    Attributes
    ----------
    users
        Households.
    months
        Consecutive months of each.
    seed
        Of all chance.
    anomaly_share
        Share of the transactions that are injected anomalies.
    start
        First month, ``yyyy-mm``.
    typos
        Share of labels with a typing mistake.
    telling
        Share of the local shops whose name hints at what they sell.
    banks
        Which of `training.budget.synthetic.bank_labels.STYLES` are in use, by name; all if empty.
    world
        Another one has other local shops and other brands that no rule knows; the chains are the same.
    """

    users: int = 50
    months: int = 24
    seed: int = 0
    anomaly_share: float = 0.01
    start: str = "2023-01"
    typos: float = 0.03
    telling: float = 0.55
    banks: tuple[str, ...] = ()
    world: int = 0


def generate(options: Synthesis = Synthesis()) -> pd.DataFrame:
    """Return the transactions of all households, sorted by user and date.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`: user str; date datetime64[ns], the day of booking; label str; amount float in EUR, negative
        when spent; account str; category one of `CATEGORIES`; merchant str, the canonical name; anomaly str, "" or
        one of `ANOMALIES`. The original of a "duplicate" is not marked, all of a "burst" are.

    Raises
    ------
    ValueError
        If there are no users or months, or a bank is not known.
    """
    known = [style.bank for style in STYLES]
    if options.users < 1 or options.months < 1 or not set(options.banks) <= set(known):
        raise ValueError(f"expected users, months >= 1 and banks among {known}, got {options}")
    when = months_from(options.start, options.months)
    return pd.concat([_account(options, number, when) for number in range(options.users)], ignore_index=True)


def _account(options: Synthesis, number: int, when: Months) -> pd.DataFrame:
    rng = np.random.default_rng([options.seed, number])
    who = household(rng, options.telling, options.world)
    flows = _flows(rng, who, when)
    sizes = [len(flow.days) for flow in flows]
    table: dict[str, Any] = {
        "day": np.concatenate([flow.days for flow in flows]),
        "amount": np.concatenate([flow.amounts for flow in flows]),
        "operation": np.repeat([flow.operation for flow in flows], sizes).astype(object),
        "category": np.repeat([flow.category for flow in flows], sizes).astype(object),
    }
    for column in ("names", "written", "cities", "motives"):
        table[column] = np.array([value for flow in flows for value in getattr(flow, column)], dtype=object)
    table["anomaly"] = np.full(len(table["day"]), "", dtype=object)
    _cheques(rng, table)
    _refunds(rng, table)
    table = _with_anomalies(rng, table, options.anomaly_share, when.starts[-1] + when.lengths[-1] - 1)
    order = np.argsort(table["day"], kind="stable")
    table = {name: column[order] for name, column in table.items()}
    styles = [style for style in STYLES if not options.banks or style.bank in options.banks]
    style = styles[int(rng.integers(len(styles)))]
    labels = render(
        rng, style, table["operation"].tolist(), table["written"].tolist(), table["cities"].tolist(),
        table["motives"].tolist(), table["day"], f"{int(rng.integers(10_000)):04d}", options.typos,
    )  # fmt: skip
    joint = rng.random(len(order)) < (0.3 if rng.random() < 0.3 else 0.0)
    return pd.DataFrame(
        {
            "user": f"user-{number:04d}",
            "date": table["day"].astype("datetime64[ns]"),
            "label": labels,
            "amount": np.round(table["amount"], 2).astype(np.float64),
            "account": np.where(joint, "joint", "main"),
            "category": table["category"],
            "merchant": table["names"],
            "anomaly": table["anomaly"],
        }
    )


def _flows(rng: np.random.Generator, who: Household, when: Months) -> list[Flow]:
    scale = (who.income / 2500) ** 0.5
    paid = (spending(rng, who, category, when, scale) for category in HABITS)
    return [
        *(flow for flow in paid if flow is not None),
        *contracts_of(rng, who, when),
        housing(rng, who, when),
        *income(rng, who, when),
        *transfers(rng, who, when),
    ]


def _cheques(rng: np.random.Generator, table: dict[str, Any]) -> None:
    """Pay a few by cheque, whose label names no one."""
    payable = np.isin(table["category"], ("enfants", "loisirs", "sante", "maison", "logement"))
    cheque = payable & (rng.random(len(payable)) < 0.04)
    table["operation"][cheque] = "cheque"


def _refunds(rng: np.random.Generator, table: dict[str, Any]) -> None:
    """Turn a few card payments into money back, at the same merchant and in the same category."""
    back = (table["operation"] == "card") & (rng.random(len(table["day"])) < 0.008)
    table["operation"][back] = "refund"
    table["amount"][back] *= -1


def _with_anomalies(rng: np.random.Generator, table: dict[str, Any], share: float, last: Any) -> dict[str, Any]:
    """Inject anomalies among card payments, or change payments into one; a burst is three to six small payments."""
    rows = len(table["day"])
    wanted = int(rng.binomial(rows, share))
    cards = np.flatnonzero((table["operation"] == "card") & (table["amount"] < 0))
    if not wanted or not len(cards):
        return table
    kinds = rng.choice(len(ANOMALIES), size=wanted, p=[0.32, 0.32, 0.28, 0.08])  # a burst counts several times
    victims = rng.choice(cards, size=min(wanted, len(cards)), replace=False)
    kinds = kinds[: len(victims)]
    copies, shifts, amounts, marks, names = [], [], [], [], []
    for kind, victim in zip((ANOMALIES[at] for at in kinds.tolist()), victims.tolist(), strict=True):
        if kind == "amount":
            table["amount"][victim] = round(float(table["amount"][victim] * rng.uniform(4, 15)), 2)
            table["anomaly"][victim] = kind
            continue
        if kind == "duplicate":
            more = [(int(rng.integers(0, 3)), table["amount"][victim], "")]
        elif kind == "merchant":
            stranger = _STRANGERS[int(rng.integers(len(_STRANGERS)))]
            more = [(0, -round(float(np.exp(rng.normal(np.log(140), 0.9))), 2), stranger)]
        else:
            more = [
                (int(rng.integers(0, 2)), -round(float(rng.uniform(4, 40)), 2), "")
                for _ in range(int(rng.integers(3, 7)))
            ]
        for shift, amount, name in more:
            copies.append(victim)
            shifts.append(shift)
            amounts.append(amount)
            names.append(name)
            marks.append(kind)
    if not copies:
        return table
    added = {name: column[copies].copy() for name, column in table.items()}
    added["day"] = np.minimum(added["day"] + np.array(shifts), last)
    added["amount"] = np.array(amounts, np.float64)
    added["anomaly"] = np.array(marks, dtype=object)
    strange: npt.NDArray[np.bool_] = np.array([bool(name) for name in names])
    added["written"][strange] = [name for name in names if name]
    added["names"][strange] = [name.title() for name in names if name]
    added["cities"][strange] = ""
    return {name: np.concatenate([column, added[name]]) for name, column in table.items()}

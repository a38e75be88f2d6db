"""What comes and goes every month: contracts, housing, income, transfers, cash and fees of a synthetic household."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from training.budget.synthetic.card_spending import SEASONS, Array, Flow, Household, Months, within
from training.budget.synthetic.local_names import CITIES, EMPLOYERS, FEES, FIRST, SURNAMES
from training.budget.synthetic.merchants import Merchant, contracts

LANDLORDS: Final = (
    "FONCIA",
    "CITYA IMMOBILIER",
    "NEXITY",
    "ICF HABITAT",
    "OPH",
    "SCI {s}",
    "{t} {s}",
    "CDC HABITAT",
    "ORALIA",
    "{c} HABITAT",
    "HABITAT {c}",
    "{c} METROPOLE HABITAT",
    "IMMOBILIERE {s}",
)
MOTIVES: Final = (
    "", "", "", "VIREMENT", "REMBOURSEMENT", "CADEAU", "COLOC", "VACANCES", "RESTO", "MERCI", "ANNIV", "COURSES",
    "PART LOYER",
)  # fmt: skip


def contract(rng: np.random.Generator, who: Household, category: str, one: Merchant, when: Months) -> Flow:
    """Return what one contract costs: a fixed price that rises in some January, or usage that follows the season."""
    count = len(when.starts)
    begins = int(rng.integers(1, count)) if count > 1 and rng.random() < 0.25 else 0
    ends = int(rng.integers(begins, count)) + 1 if rng.random() < 0.15 else count
    month = np.arange(begins, ends)
    price = one.median * np.exp(rng.normal(0, one.spread))
    rises = np.cumprod(np.where((when.of_year == 0) & (rng.random(count) < 0.7), 1 + rng.uniform(0.01, 0.08), 1.0))
    amounts = np.full(len(month), round(price, 2)) * rises[month]
    if category == "energie" and rng.random() < 0.4:  # pays for what it used, every other month
        month = month[month % 2 == 0]
        season = np.array(SEASONS["energie"])[when.of_year[month]]
        amounts = price * 2 * season * rises[month] * np.exp(rng.normal(0, 0.1, len(month)))
    if category == "enfants":
        open_ = when.of_year[month] != 7
        month, amounts = month[open_], (amounts * np.exp(rng.normal(0, 0.12, len(amounts))))[open_]
    written = one.written[int(rng.integers(len(one.written)))]
    by_card = one.category == "abonnements" and rng.random() < 0.75
    return Flow(
        days=_business(when.starts[month] + int(rng.integers(0, 28))),
        amounts=-np.round(amounts, 2),
        operation="card" if by_card else "debit",
        category=category,
        names=[one.name] * len(month),
        written=[written] * len(month),
        cities=[""] * len(month),
        motives=[""] * len(month),
    )


def housing(rng: np.random.Generator, who: Household, when: Months) -> Flow:
    """Return the rent or the loan, about 28 % of the income."""
    price = who.income * rng.uniform(0.2, 0.36)
    party = _named(rng, LANDLORDS)
    operation, motive = ("transfer_out", "LOYER" if rng.random() < 0.5 else "") if rng.random() < 0.6 else ("debit", "")
    if who.owner:
        party, operation, motive = (
            _one(rng, ("ECHEANCE PRET", "PRET IMMOBILIER ECH", "CREDIT LOGEMENT", "ECH PRET CAP+IN")),
            "debit",
            "",
        )
    rises = (1 + 0.02 * (not who.owner)) ** (np.arange(len(when.starts)) // 12)
    days = _business(when.starts + int(rng.integers(0, 10)))
    return _monthly(days, -np.round(price * rises, 2), operation, "logement", party, motive)


def income(rng: np.random.Generator, who: Household, when: Months) -> list[Flow]:
    """Return salaries (a thirteenth in some Decembers), family allowances, and what health insurance pays back."""
    flows = []
    for number in range(1 + int(rng.random() < 0.35)):
        party = _one(rng, EMPLOYERS)
        motive = _one(rng, ("SALAIRE", "PAIE", "", "VIR SALAIRE", "REMUNERATION", "PENSION"))
        pay = who.income * (1 if number == 0 else 0.7) * np.exp(rng.normal(0, 0.02, len(when.starts)))
        pay *= (1 + max(0.0, who.growth)) ** (np.arange(len(pay)) // 12)
        if rng.random() < 0.35:
            pay = pay * np.where(when.of_year == 11, 1.9, 1.0)
        days = _business(when.starts + when.lengths - 1 - int(rng.integers(0, 5)))
        flows.append(_monthly(days, np.round(pay, 2), "transfer_in", "revenus", party, motive))
    if who.children or rng.random() < 0.2:
        days = _business(when.starts + 4)
        allowances = ("CAF", "CAF DU RHONE", "C.A.F.", "CAF DE PARIS", "MSA", "FRANCE TRAVAIL", "BOURSE CROUS", "RSA")
        party = _one(rng, allowances)
        amount = np.full(len(days), round(float(rng.uniform(90, 420)), 2))
        flows.append(_monthly(days, amount, "transfer_in", "revenus", party, ""))
    return [*flows, _paid_back(rng, when)]


def _paid_back(rng: np.random.Generator, when: Months) -> Flow:
    counts = rng.poisson(1.3, len(when.starts))
    month = np.repeat(np.arange(len(counts)), counts)
    insurers = (
        "CPAM",
        "C.P.A.M.",
        "CPAM DE PARIS",
        "MGEN",
        "HARMONIE MUTUELLE",
        "ALAN SA",
        "MUTUELLE GENERALE",
        "MACIF",
        "MAIF",
        "APRIL",
        "AMELI",
        "MSA SOINS",
    )
    mine = [_one(rng, insurers) for _ in range(2)]
    party = [mine[at] for at in rng.integers(2, size=len(month)).tolist()]
    amounts = np.round(np.exp(rng.normal(np.log(17.5), 0.7, len(month))), 2)
    days = _business(when.starts[month] + within(rng, when.lengths[month]))
    motive = _one(rng, ("", "REMBOURSEMENT", "PRESTATIONS", "FRAIS MED", "SOINS", "DECOMPTE", "REGLEMENT SINISTRE"))
    rows = len(month)
    return Flow(
        days,
        amounts,
        "transfer_in",
        "remboursements",
        [one.title() for one in party],
        party,
        [""] * rows,
        [motive] * rows,
    )


def transfers(rng: np.random.Generator, who: Household, when: Months) -> list[Flow]:
    """Return money to and from people, to savings, out of cash machines, and the bank's fees."""
    friends = [_named(rng, ("{t} {s} {f}", "{s} {f}", "{f} {s}")) for _ in range(6)]
    flows = []
    for operation, sign, rate in (("transfer_out", -1, 1.1), ("transfer_in", 1, 0.8)):
        counts = rng.poisson(rate, len(when.starts))
        month = np.repeat(np.arange(len(counts)), counts)
        people = [friends[at] for at in rng.integers(6, size=len(month)).tolist()]
        amounts = np.round(np.exp(rng.normal(np.log(45), 0.95, len(month))) / 5 + 0.5) * 5
        days = when.starts[month] + within(rng, when.lengths[month])
        motives = [MOTIVES[at] for at in rng.integers(len(MOTIVES), size=len(month)).tolist()]
        cities = [""] * len(month)
        flows.append(
            Flow(days, sign * amounts, operation, "virements", [one.title() for one in people], people, cities, motives)
        )
    if rng.random() < 0.75:
        party = _one(
            rng,
            ("LIVRET A", "COMPTE EPARGNE", "LDDS", "PEL", "ASSURANCE VIE", "LIVRET JEUNE", friends[0], "BOURSORAMA"),
        )
        motive = _one(rng, ("EPARGNE", "VIREMENT PERMANENT", "", "VERS LIVRET"))
        saved = np.round(who.income * rng.uniform(0.03, 0.15) / 10) * 10 * np.ones(len(when.starts))
        flows.append(
            _monthly(
                _business(when.starts + int(rng.integers(0, 28))), -saved, "transfer_out", "epargne", party, motive
            )
        )
    counts = rng.poisson(1.6 * np.exp(rng.normal(0, 0.6)), len(when.starts))
    month = np.repeat(np.arange(len(counts)), counts)
    places = ("BNP PARIBAS", "CREDIT AGRICOLE", "SG", "CIC", "LCL", "BANQUE POSTALE", "CREDIT MUTUEL")
    amounts = -rng.choice([20, 30, 40, 50, 60, 80, 100, 150, 200], size=len(month)).astype(np.float64)
    at = [_one(rng, places) for _ in range(len(month))]
    days = when.starts[month] + within(rng, when.lengths[month])
    flows.append(
        Flow(days, amounts, "cash", "retraits", ["Retrait"] * len(at), at, [CITIES[who.city]] * len(at), [""] * len(at))
    )
    fee = _one(rng, FEES)
    kept = rng.random(len(when.starts)) < 0.6
    fees = -np.round(np.full(int(kept.sum()), rng.uniform(1, 12)), 2)
    flows.append(_monthly(when.starts[kept] + int(rng.integers(0, 28)), fees, "fee", "frais_bancaires", fee, ""))
    return flows


def contracts_of(rng: np.random.Generator, who: Household, when: Months) -> list[Flow]:
    """Return a household's contracts: energy, telephone, insurance, subscriptions, clubs, canteen, taxes."""
    wanted = {
        "energie": 1 + int(rng.random() < 0.6), "telecom": 1 + int(rng.integers(0, 3)),
        "assurances": 1 + int(rng.integers(0, 3)), "abonnements": int(rng.poisson(2.6)),
        "transport": int(rng.random() < (0.15 if who.car else 0.6)),
        "loisirs": int(rng.random() < 0.4), "enfants": min(who.children, int(rng.integers(0, 3))),
        "impots": int(rng.random() < 0.7),
    }  # fmt: skip
    flows = []
    for category, count in wanted.items():
        offers = contracts()[category]
        for at in rng.permutation(len(offers))[:count].tolist():
            flows.append(contract(rng, who, category, offers[at], when))
    return flows


def _monthly(days: Array, amounts: Array, operation: str, category: str, party: str, motive: str) -> Flow:
    rows = len(days)
    return Flow(
        days, amounts, operation, category, [party.title()] * rows, [party] * rows, [""] * rows, [motive] * rows
    )


def _business(days: Array) -> Array:
    weekday = (days.astype(np.int64) + 3) % 7
    moved: Array = days + np.where(weekday > 4, 7 - weekday, 0)
    return moved


def _named(rng: np.random.Generator, patterns: Sequence[str]) -> str:
    title = _one(rng, ("M", "MME", "MLLE", "M OU MME"))
    return _one(rng, patterns).format(s=_one(rng, SURNAMES), f=_one(rng, FIRST), t=title, c=_one(rng, CITIES))


def _one(rng: np.random.Generator, of: Sequence[str]) -> str:
    return of[int(rng.integers(len(of)))]

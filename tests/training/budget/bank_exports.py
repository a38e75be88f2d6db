"""Synthetic exports of ten banks' layouts, in the encodings and styles that they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

LABELS = ("PAIEMENT PAR CARTE CAFÉ DE L'ÉTÉ", "VIREMENT SALAIRE", "PRLV ÉLECTRICITÉ", "CB LIDL 4512", "Total Énergies")


@dataclass(frozen=True)
class Row:
    """One transaction as it was, whatever the export makes of it."""

    day: date
    label: str
    cents: int


Number = Callable[[int], str]
Day = Callable[[date], str]


def rows(count: int, seed: int, days_to: int = 28) -> list[Row]:
    """Return transactions of which every fifth is an income; days of the month up to a last one."""
    rng = np.random.default_rng(seed)
    made = []
    for at in range(count):
        day = date(2023, 1 + at % 12, int(rng.integers(1, days_to + 1)))
        cents = int(rng.integers(101, 400_000))
        made.append(Row(day, LABELS[at % len(LABELS)], cents if at % 5 == 1 else -cents))
    return made


def comma(thousands: str = "", after: str = "") -> Number:
    return lambda cents: (
        ("-" if cents < 0 else "")
        + f"{abs(cents) // 100:,}".replace(",", thousands)
        + (f",{abs(cents) % 100:02d}{after}")
    )


def point(thousands: str = "", after: str = "") -> Number:
    return lambda cents: f"{cents / 100:,.2f}".replace(",", thousands) + after


def trailing(number: Number) -> Number:
    return lambda cents: number(abs(cents)) + ("-" if cents < 0 else "")


def bracketed(number: Number) -> Number:
    return lambda cents: f"({number(-cents)})" if cents < 0 else number(cents)


def day(form: str) -> Day:
    return lambda one: one.strftime(form)


def excel(one: date) -> str:
    return str((one - date(1899, 12, 30)).days)


def line(cells: list[str], separator: str) -> str:
    return separator.join(f'"{cell}"' if separator in cell or "\n" in cell else cell for cell in cells) + "\r\n"


def table(heading: list[str], lines: list[list[str]], separator: str, before: str = "", after: str = "") -> str:
    return before + line(heading, separator) + "".join(line(cells, separator) for cells in lines) + after


def generic_french(made: list[Row], number: Number, when: Day, separator: str) -> str:
    return table(["Date", "Libellé", "Montant", "Devise"], [[when(row.day), row.label, number(row.cents), "EUR"]
                 for row in made], separator)  # fmt: skip


def generic_english(made: list[Row], number: Number, when: Day, separator: str) -> str:
    return table(["Transaction Date", "Description", "AMOUNT"], [[when(row.day), row.label, number(row.cents)]
                 for row in made], separator)  # fmt: skip


def pair(made: list[Row], number: Number, when: Day, separator: str) -> str:
    """Date opération, libellé, débit and crédit, with a total below."""
    lines = [[when(row.day), when(row.day + timedelta(1)), row.label, *_pair(row, number)] for row in made]
    heading = ["Date opération", "Date valeur", "libellé", "Débit", "Crédit"]
    return table(heading, lines, separator, after=line(["Total", "", "", number(123), number(456)], separator))


def credit_agricole(made: list[Row], number: Number, when: Day, separator: str) -> str:
    """Lines before the heading, labels of two lines, a separator at the end of each line."""
    before = (
        f"Téléchargement du 01/02/2024{separator}\r\n\r\nM. DUPONT\r\nSolde au 01/02/2024{separator}12,00 €\r\n\r\n"
    )
    lines = [[when(row.day), row.label.replace(" ", "\n", 1), *_pair(row, number), ""] for row in made]
    return table(["Date", "Libellé", "Débit euros", "Crédit euros", ""], lines, separator, before)


def caisse_d_epargne(made: list[Row], number: Number, when: Day, separator: str) -> str:
    """Debits are negative; several labels and dates."""
    heading = ["Date de comptabilisation", "Libelle simplifie", "Libelle operation", "Reference", "Debit", "Credit",
               "Date operation", "Pointage operation"]  # fmt: skip
    lines = [
        [when(row.day + timedelta(1)), row.label, "CB*1234 " + row.label, "00123",
         number(row.cents) if row.cents < 0 else "", number(row.cents) if row.cents > 0 else "", when(row.day), "0"]
        for row in made
    ]  # fmt: skip
    return table(heading, lines, separator)


def boursobank(made: list[Row], number: Number, when: Day, separator: str) -> str:
    heading = ["dateOp", "dateVal", "label", "category", "categoryParent", "supplierFound", "amount", "accountNum"]
    return table(heading, [[when(row.day), when(row.day), row.label, "Vie quotidienne", "Vie", "", number(row.cents),
                            "00040123456"] for row in made], separator)  # fmt: skip


def revolut(made: list[Row], number: Number, when: Day, separator: str) -> str:
    heading = ["Type", "Product", "Started Date", "Completed Date", "Description", "Amount", "Fee", "Currency", "State"]
    lines = []
    for row in made:
        moment = when(row.day) + ("" if when(row.day).isdigit() else " 14:05:59")
        lines.append(
            ["CARD_PAYMENT", "Current", moment, moment, row.label, number(row.cents), "0.00", "EUR", "COMPLETED"]
        )
    return table(heading, lines, separator)


def n26(made: list[Row], number: Number, when: Day, separator: str) -> str:
    heading = ["Booking Date", "Value Date", "Partner Name", "Partner Iban", "Type", "Payment Reference",
               "Account Name", "Amount (EUR)", "Original Amount"]  # fmt: skip
    lines = [[when(row.day), when(row.day), row.label, "", "Presentment", "", "Main", number(row.cents), ""]
             for row in made]  # fmt: skip
    return table(heading, lines, separator)


def banque_postale(made: list[Row], number: Number, when: Day, separator: str) -> str:
    before = f"Numéro Compte   :{separator}1234567X\r\nType{separator}CCP\r\nSolde (EUROS){separator}12,00\r\n\r\n"
    heading = ["Date", "Libellé", "Montant(EUROS)", "Montant(FRANCS)"]
    lines = [[when(row.day), row.label, number(row.cents), number(row.cents * 6)] for row in made]
    return table(heading, lines, separator, before)


def directed(made: list[Row], number: Number, when: Day, separator: str) -> str:
    """Amounts without a sign beside a column that says which way they went."""
    heading = ["Date", "Name / Description", "Account", "Debit/credit", "Amount (EUR)"]
    lines = [[when(row.day), row.label, "NL01", "Debit" if row.cents < 0 else "Credit", number(abs(row.cents))]
             for row in made]  # fmt: skip
    return table(heading, lines, separator)


def _pair(row: Row, number: Number) -> list[str]:
    return [number(-row.cents), ""] if row.cents < 0 else ["", number(row.cents)]


LAYOUTS = (
    generic_french, generic_english, pair, credit_agricole, caisse_d_epargne, boursobank, revolut, n26, banque_postale,
    directed,
)  # fmt: skip
STYLES: tuple[tuple[str, str, Number, Day], ...] = (
    ("utf-8", ";", comma("\u202f"), day("%d/%m/%Y")),
    ("cp1252", ";", comma("\u00a0", " €"), day("%d/%m/%y")),
    ("utf-16", "\t", point(","), day("%Y-%m-%d")),
    ("utf-8-sig", ",", point("", " EUR"), day("%d.%m.%Y")),
    ("cp1252", "|", trailing(comma(".")), day("%d-%m-%Y")),
    ("utf-8", ",", bracketed(point("'")), day("%Y%m%d")),
    ("utf-16-le", ";", comma(), excel),
)

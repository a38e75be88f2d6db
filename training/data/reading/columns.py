"""Which columns a family asks a table for, and by which headings they are known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "number", "day", "instant"]
"""Text as it stands; float64; a calendar day as it was written; an instant in UTC."""

CURRENCY_WORDS: Final = frozenset({"eur", "euro", "euros", "usd", "gbp", "chf"})


@dataclass(frozen=True)
class Column:
    """One column that a family reads.

    Attributes
    ----------
    name
        In the table that is returned; always a heading, too.
    kind
        What its cells are.
    headings
        Other headings that it is known by, the best first. Case, accents, spaces, punctuation and a currency in
        brackets do not matter.
    required
        Whether a table without it is refused.
    blank
        Whether a row may have an empty cell there; in a column that is not required it always may.
    instead
        Columns any of which may take its place.
    """

    name: str
    kind: Kind = "text"
    headings: tuple[str, ...] = ()
    required: bool = True
    blank: bool = False
    instead: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether a row with an empty cell there is refused."""
        return self.required and not self.blank


def simplify(heading: str) -> str:
    """Return a heading without case, accents, spaces, punctuation and currency: ``Débit (EUR)`` is ``debit``."""
    plain = unicodedata.normalize("NFKD", heading.replace("€", " euro ")).casefold()
    words = re.findall(r"[a-z0-9]+", "".join(one for one in plain if not unicodedata.combining(one)))
    return "".join([word for word in words if word not in CURRENCY_WORDS] or words)


def match(cells: Sequence[str], columns: Sequence[Column]) -> dict[str, list[int]]:
    """Return the places of each column that a heading names; several where the very same heading stands twice."""
    simple = [simplify(cell) for cell in cells]
    found: dict[str, list[int]] = {}
    taken: set[int] = set()
    for column in columns:
        for heading in (column.name, *column.headings):
            wanted = simplify(heading)
            places = [place for place, cell in enumerate(simple) if cell == wanted and place not in taken]
            if places:
                found[column.name] = places
                taken.update(places)
                break
    return found


def find_missing(found: dict[str, list[int]], columns: Sequence[Column]) -> list[Column]:
    """Return the required columns that are neither found nor replaced by others."""
    return [
        column
        for column in columns
        if column.required and column.name not in found and not any(other in found for other in column.instead)
    ]

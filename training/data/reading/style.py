"""What a user says of columns that can be read in two ways."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final, Literal

Mark = Literal[",", "."]
MARKS: Final[dict[Mark, str]] = {",": "decimal comma", ".": "decimal point"}


@dataclass(frozen=True)
class Style:
    """What decides where a column can be read in two ways.

    Attributes
    ----------
    day_first
        Whether 01/02/2024 is a day in February; None where it is not known.
    decimal
        The decimal mark; None where it is not known.
    """

    day_first: bool | None = None
    decimal: Mark | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Style:
        """Return what `add_style` asked for; nothing of a command without its options."""
        return cls(getattr(arguments, "day_first", None), getattr(arguments, "decimal", None))


def add_style(parser: argparse.ArgumentParser) -> None:
    """Add ``--day-first``, ``--month-first`` and ``--decimal`` to a command that reads tables."""
    order = parser.add_mutually_exclusive_group()
    order.add_argument(
        "--day-first",
        action="store_true",
        default=None,
        help="01/02/2024 is in February, where no row of the data shows",
    )
    order.add_argument(
        "--month-first", action="store_false", dest="day_first", default=None, help="01/02/2024 is in January"
    )
    parser.add_argument(
        "--decimal", choices=tuple(MARKS), help="the decimal mark, where 1.234 or 1,234 can be thousands or decimals"
    )

"""Amounts, days and labels as banks' interfaces write them, taken from a JSON object one by one and checked.

PSD2's interfaces send amounts as strings (``"-12.50"``) and bookings as instants (``"2026-11-21T10:15:00+01:00"``).
Both are read where they can mean one thing only; what can mean two is refused with what to send.
"""

import re
from datetime import datetime
from typing import Any, Final

import numpy as np

from handlers import validation as take
from handlers.decoding import describe
from handlers.errors import InvalidError
from handlers.validation import REQUIRED, Default
from models.budget.labels import LONGEST_LABEL
from models.budget.plausibility import POSSIBLE

LONGEST_NUMBER = 64
"""Characters of an amount that is sent as a string."""

LARGEST_AMOUNT: Final = POSSIBLE["amount_eur"][1]
"""In euros, either way."""

_SPACES: Final = re.compile(r"[\s\u00a0\u202f\u2009']")
_AMOUNT: Final = re.compile(r"([+-]?)(\d[\d.,]*)(-?)")
_GROUPED: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*")
_DAY: Final = "a day such as 2026-11-21, or an instant such as 2026-11-21T10:15:00+01:00"
_INSTANT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}(?::?\d{2})?)?"
)


def amount(
    fields: dict[str, Any], name: str, low: float = -LARGEST_AMOUNT, default: Default = REQUIRED
) -> float | Default:
    """Take an amount in EUR from `low` to `LARGEST_AMOUNT`: a number, or a string that can mean one only."""
    value = fields.get(name)
    if type(value) is str:
        return take.number({name: read_amount(value, name)}, name, low, LARGEST_AMOUNT)
    return take.number(fields, name, low, LARGEST_AMOUNT, default)


def read_amount(written: str, name: str) -> float:
    """Return the number that a string such as ``-12.50``, ``1 234,56`` or ``1.234,56 EUR`` means.

    Raises
    ------
    InvalidError
        If it means none, another currency, or perhaps one of two, as ``1,234`` does.
    """
    expected = 'a number, or a string such as "-12.50"'
    bare = written.strip().replace("\u2212", "-").upper()
    if len(bare) > LONGEST_NUMBER:
        raise InvalidError(name, expected, describe(written))
    for sign in ("EUR", "€"):
        bare = bare.removeprefix(sign).removesuffix(sign).strip()
    if re.search(r"[A-Z$£¥]", bare):
        raise InvalidError(name, f"{expected}, in EUR and without another word", describe(written))
    groups = _SPACES.split(bare.lstrip("+-").lstrip())
    # A space, or Switzerland's apostrophe, parts thousands; any other digits apart are two numbers.
    if len(groups) > 1 and not (
        len(groups[0]) < 4 and all(re.fullmatch(r"\d{3}([.,]\d*)?", one) for one in groups[1:])
    ):
        raise InvalidError(name, expected, describe(written))
    found = _AMOUNT.fullmatch(_SPACES.sub("", bare))
    if found is None or (found[1] and found[3]):
        raise InvalidError(name, expected, describe(written))
    number = _decimal(found[2], len(groups) > 1)
    if number is None:
        raise InvalidError(name, expected, describe(written))
    if number == "":
        example = found[2].replace(",", ".")
        detail = f'{expected}, without separators of thousands: "{example}0" or "{re.sub("[.,]", "", found[2])}"'
        raise InvalidError(name, detail, f"{describe(written)}, which can mean either")
    return -float(number) if "-" in (found[1], found[3]) else float(number)


def _decimal(digits: str, grouped: bool) -> str | None:
    """Return digits with a decimal point, "" where they can mean two numbers, None where none."""
    marks = [mark for mark in digits if mark in ".,"]
    if not marks:
        return digits
    last = digits.rindex(marks[-1])
    whole, rest = digits[:last], digits[last + 1 :]
    if len(set(marks)) == 2:  # the last kind of mark is the decimal one, and stands once
        if marks.count(marks[-1]) > 1 or grouped or not (_GROUPED.fullmatch(whole) and rest):
            return None
        return re.sub("[.,]", "", whole) + "." + rest
    if len(marks) > 1:
        return re.sub("[.,]", "", digits) if _GROUPED.fullmatch(digits) and not grouped else None
    if not rest:
        return None
    if len(rest) == 3 and not grouped and 1 <= len(whole) <= 3 and whole.strip("0"):
        return ""
    return f"{whole}.{rest}"


def day(fields: dict[str, Any], name: str) -> np.datetime64:
    """Take the day of a date or instant; of an instant the one that its own clock shows."""
    value = fields.get(name)
    if type(value) is str and (len(value) != 10 or value[4:5] != "-"):
        bare = value.strip()[:64]
        if len(bare) == 10:
            value = bare
        elif _INSTANT.fullmatch(bare) is not None:
            try:
                datetime.fromisoformat(bare.upper())
            except ValueError:
                raise InvalidError(name, _DAY, describe(value)) from None
            value = bare[:10]
    try:
        return take.date({name: value} if name in fields else {}, name)
    except InvalidError as error:
        raise InvalidError(name, _DAY, describe(fields[name]) if value is not None else error.received) from None


def label(fields: dict[str, Any], name: str = "label") -> str:
    """Take a bank's label of at most `LONGEST_LABEL` characters; none, null and an empty one say as little."""
    return take.text(fields, name, LONGEST_LABEL, "")

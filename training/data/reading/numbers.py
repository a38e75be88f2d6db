"""Numbers as banks, spreadsheets and programs write them: one decimal mark for a whole column."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.reading.style import MARKS, Mark

OTHER: Final[dict[Mark, Mark]] = {",": ".", ".": ","}

MISSING: Final = frozenset({"", "-", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>"})
"""Cells without a value, in lower case."""

_MINUS: Final = r"\-" "\u2010\u2011\u2012\u2013\u2212"
_SPACES: Final = " \u00a0\u202f\u2009\u2007"
_CURRENCY: Final = r"(?:[A-Z]{3}|[Ee]uros?|(?:US|CA|AU|A|C)?\$|[€£¥₹₽₺₩¤]|Fr\.|kr\.?|zł|Kč)"
_SYMBOLS: Final = {"€": "EUR", "EURO": "EUR", "EUROS": "EUR", "$": "USD", "US$": "USD", "£": "GBP", "¤": "EUR"}
_NUMBER: Final = re.compile(
    rf"(?P<open>\()?(?P<s1>[+{_MINUS}])?[{_SPACES}]*(?P<before>{_CURRENCY})?[{_SPACES}]*(?P<s2>[+{_MINUS}])?[{_SPACES}]*"
    rf"(?P<body>[.,]?\d(?:[\d.,'\u2019{_SPACES}]*[\d.,])?)(?P<power>[eE][+-]?\d+)?"
    rf"[{_SPACES}]*(?P<s3>[+{_MINUS}])?[{_SPACES}]*(?P<after>{_CURRENCY})?(?P<s4>[+{_MINUS}])?(?P<close>\))?"
)
_GROUPED: Final[dict[Mark, re.Pattern[str]]] = {
    mark: re.compile(
        rf"(\d+|[1-9]\d{{0,2}}([{re.escape(OTHER[mark])}_'])\d{{3}}(?:\2\d{{3}})*)?(?:{re.escape(mark)}(\d*))?"
    )
    for mark in MARKS
}
_MARKED: Final = str.maketrans({**dict.fromkeys(_SPACES, "_"), "\u2019": "'"})
_UNGROUPED: Final = str.maketrans("", "", "_'.,")
_NAMES: Final = {"_": "space", "'": "apostrophe", ".": "point", ",": "comma", "": ""}
_PLAIN: Final = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"
_OPEN: Final = r"[-+]?[1-9]\d{0,2}\.\d{3}"
"""What is a thousand and more by a decimal comma, and a few with three decimals by a decimal point."""


@dataclass(frozen=True)
class Weight:
    """What the rows of a column say about its decimal mark.

    Attributes
    ----------
    rows
        By mark: how many can be read by it alone.
    either
        How many mean different numbers by the one and the other.
    example
        By mark: the first row that can be read by it alone; under "" the first that can be read by both.
    """

    rows: dict[Mark, int]
    either: int
    example: dict[str, int]


@dataclass(frozen=True)
class Numbers:
    """A column read by one decimal mark.

    Attributes
    ----------
    values
        float64 [N], NaN where there is none.
    missing
        bool [N]: the cell has no value.
    faults
        Row to what is wrong there, as kind and expectation.
    grouped
        What stands between thousands, as words.
    currency
        The one that is written beside the numbers; "" where none is.
    """

    values: npt.NDArray[np.float64]
    missing: npt.NDArray[np.bool_]
    faults: dict[int, tuple[str, str]]
    grouped: tuple[str, ...] = ()
    currency: str = ""


@dataclass
class _Cell:
    by: dict[Mark, float]
    currency: str
    grouped: str


class NumberColumn:
    """A column of cells, str [N], that may be numbers.

    Parameters
    ----------
    cells
        As they stand in the file.
    """

    def __init__(self, cells: pd.Series) -> None:
        self._cells = cells
        self._is_plain = bool((cells.str.fullmatch(_PLAIN) | (cells == "")).all())
        if not self._is_plain:  # plain ones are left to vectorised operations
            self._look()

    def _look(self) -> None:
        self._codes, texts = pd.factorize(self._cells)
        self._texts: list[str] = texts.tolist()
        self._found = [_read(text) for text in self._texts]

    def weigh(self) -> Weight:
        """Count what the cells say about the decimal mark."""
        if self._is_plain:
            either = self._cells.str.fullmatch(_OPEN).to_numpy(bool)
            only = self._cells.str.contains(r"[.eE]", regex=True).to_numpy(bool) & ~either
            return _weight({".": only, ",": np.zeros(len(only), bool)}, either)
        masks: dict[Mark, npt.NDArray[np.bool_]] = {
            mark: np.array([cell is not None and list(cell.by) == [mark] for cell in self._found], bool)[self._codes]
            for mark in MARKS
        }
        either = np.array([cell is not None and len(set(cell.by.values())) == 2 for cell in self._found], bool)
        return _weight(masks, either[self._codes])

    def parse(self, mark: Mark) -> Numbers:
        """Read the cells by a decimal mark."""
        if self._is_plain and mark == ".":
            values = self._cells.where(self._cells != "", "nan").to_numpy(dtype=object).astype(np.float64)
            return Numbers(values, (self._cells == "").to_numpy(bool), {})
        if self._is_plain:
            self._look()
        codes, found = self._codes, self._found
        numbers = np.array([cell.by.get(mark, np.nan) if cell else np.nan for cell in found], np.float64)
        missing = np.array([text.strip().lower() in MISSING for text in self._texts], bool)
        said: Counter[str] = Counter()
        for cell, count in zip(found, np.bincount(codes, minlength=len(found)).tolist(), strict=True):
            if cell and cell.currency:
                said[cell.currency] += count
        currency = said.most_common(1)[0][0] if said else ""
        wrong: dict[int, tuple[str, str]] = {}
        for place, cell in enumerate(found):
            if missing[place]:
                continue
            if cell is None:
                wrong[place] = ("no number", "expected a number")
            elif mark not in cell.by:
                wrong[place] = ("another decimal mark", f"expected a {MARKS[mark]} as in the rest of the column")
            elif cell.currency not in ("", currency):
                wrong[place] = ("another currency", f"expected {currency} as in the rest of the column")
        numbers[list(wrong)] = np.nan
        faults = {row: wrong[code] for row, code in enumerate(codes.tolist()) if code in wrong} if wrong else {}
        grouped = sorted({cell.grouped for cell in found if cell and cell.grouped and mark in cell.by})
        return Numbers(numbers[codes], missing[codes], faults, tuple(grouped), currency)


def _weight(masks: dict[Mark, npt.NDArray[np.bool_]], either: npt.NDArray[np.bool_]) -> Weight:
    example: dict[str, int] = {mark: int(mask.argmax()) for mark, mask in masks.items() if mask.any()}
    if either.any():
        example[""] = int(either.argmax())
    return Weight({mark: int(mask.sum()) for mark, mask in masks.items()}, int(either.sum()), example)


def _read(text: str) -> _Cell | None:
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    opened, s1, before, s2, digits, power, s3, after, s4, closed = found.groups()
    signs = [sign for sign in (s1, s2, s3, s4, opened) if sign]
    if len(signs) > 1 or (before and after) or bool(opened) != bool(closed):
        return None
    negative = bool(signs) and signs[0] != "+"
    body = digits.translate(_MARKED)
    by: dict[Mark, float] = {}
    grouped = ""
    for mark in MARKS:
        parts = _GROUPED[mark].fullmatch(body)
        if parts is None or not (parts[1] or parts[3]) or (power and parts[2]):
            continue
        whole = (parts[1] or "0").translate(_UNGROUPED)
        by[mark] = (-1 if negative else 1) * float(f"{whole}.{parts[3] or 0}{power or ''}")
        grouped = parts[2] or grouped
    if not by:
        return None
    currency = (before or after or "").upper()
    return _Cell(by, _SYMBOLS.get(currency, currency), _NAMES[grouped])

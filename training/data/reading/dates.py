"""Dates as banks, spreadsheets and programs write them: one form, and one order of day and month, for a column."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.reading.numbers import MISSING

Order = Literal["day", "month"]

_EPOCH: Final = datetime(1970, 1, 1)
_SPREADSHEET: Final = datetime(1899, 12, 30)
"""Day 0 of a spreadsheet's serial days."""

_EPOCH_UNITS: Final = {
    9: ("s", 1),
    10: ("s", 1),
    12: ("ms", 10**3),
    13: ("ms", 10**3),
    16: ("µs", 10**6),
    19: ("ns", 10**9),
}
"""Digits of a Unix time from 1973 on to its unit, and how many there are in a second."""

_TIME: Final = (
    r"(?:[T ,]+(?P<hour>\d{1,2})[:h](?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp])?(?:\.?[Mm]\.?)?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_ISO: Final = re.compile(r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})" + _TIME)
_COMPACT: Final = re.compile(
    r"(?P<year>(?:19|20|21)\d{2})(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:T?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
_ORDERED: Final = re.compile(r"(?P<a>\d{1,2})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})" + _TIME)
_NAMED: Final = re.compile(
    r"(?:[a-z]{2,9}\.?,? )?(?:(?P<day>\d{1,2})(?:er|st|nd|rd|th)?[ ./-]*(?P<name>[a-z]{3,9})|"
    r"(?P<name2>[a-z]{3,9})\.? (?P<day2>\d{1,2})(?:st|nd|rd|th)?)\.?[ ,./-]*(?P<year>\d{4}|\d{2})" + _TIME,
    re.IGNORECASE,
)
_SERIAL: Final = re.compile(r"(\d{5})(?:[.,](\d+))?")
_UNIX: Final = re.compile(r"(\d{9,19})(?:\.(\d+))?")

_MONTHS: Final = {
    **dict.fromkeys(("january", "jan", "janvier", "janv"), 1),
    **dict.fromkeys(("february", "feb", "fevrier", "fevr", "fev"), 2),
    **dict.fromkeys(("march", "mar", "mars"), 3),
    **dict.fromkeys(("april", "apr", "avril", "avr"), 4),
    **dict.fromkeys(("may", "mai"), 5),
    **dict.fromkeys(("june", "jun", "juin"), 6),
    **dict.fromkeys(("july", "jul", "juillet", "juil"), 7),
    **dict.fromkeys(("august", "aug", "aout", "aou"), 8),
    **dict.fromkeys(("september", "sep", "sept", "septembre"), 9),
    **dict.fromkeys(("october", "oct", "octobre"), 10),
    **dict.fromkeys(("november", "nov", "novembre"), 11),
    **dict.fromkeys(("december", "dec", "decembre"), 12),
}  # fmt: skip


@dataclass(frozen=True)
class _Cell:
    """A date before it is known which of its first two numbers is the day, if it is of that form."""

    form: str
    ordered: tuple[int, int, int] | None = None  # first, second, year
    known: datetime | None = None
    time: timedelta = timedelta()
    offset: timedelta | None = None

    def at(self, order: Order) -> datetime | None:
        """Return the wall-clock time by an order, None if there is no such day."""
        if self.ordered is None:
            return self.known
        day, month, year = self.ordered if order == "day" else (self.ordered[1], self.ordered[0], self.ordered[2])
        return _moment(year, month, day, self.time)


@dataclass(frozen=True)
class Weight:
    """What the rows of a column say about its dates.

    Attributes
    ----------
    form
        The form of most rows, such as ``?/?/YYYY``.
    is_ordered
        Whether its first two numbers may be day and month, or month and day.
    rows
        By order: how many can be read by it alone.
    either
        How many mean different days by the one and the other.
    example
        By order: the first row that can be read by it alone; under "" the first that can be read by both.
    year_first
        Whether two-digit numbers change as if the year came first.
    """

    form: str
    is_ordered: bool
    rows: dict[Order, int]
    either: int
    example: dict[str, int]
    year_first: bool = False


@dataclass(frozen=True)
class Dates:
    """A column of dates read in one form.

    Attributes
    ----------
    walls
        datetime64[ns] [N], as the clock stood where it was written; NaT where there is none.
    instants
        datetime64[ns] [N] in UTC; what has no zone is taken to be UTC.
    zoned
        bool [N]: whether a zone is written.
    missing
        bool [N]: the cell has no value.
    faults
        Row to what is wrong there, as kind and expectation.
    """

    walls: npt.NDArray[np.datetime64]
    instants: npt.NDArray[np.datetime64]
    zoned: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]
    faults: dict[int, tuple[str, str]]


class DateColumn:
    """A column of cells, str [N], that may be dates.

    Parameters
    ----------
    cells
        As they stand in the file.
    """

    def __init__(self, cells: pd.Series) -> None:
        self._codes, texts = pd.factorize(cells)
        self._texts: list[str] = texts.tolist()
        self._found = [_read(text) for text in self._texts]

    def weigh(self) -> Weight:
        """Count what the cells say about their form and about day and month."""
        forms: Counter[str] = Counter()
        counts = np.bincount(self._codes, minlength=len(self._texts)).tolist()
        for cell, count in zip(self._found, counts, strict=True):
            if cell is not None:
                forms[cell.form] += count
        form = forms.most_common(1)[0][0] if forms else ""
        usual = [cell if cell is not None and cell.form == form else None for cell in self._found]
        kinds = np.array([_readings(cell) if cell is not None else "" for cell in usual], object)[self._codes]
        masks = {"day": kinds == "day", "month": kinds == "month", "": kinds == "either"}
        ordered = [cell.ordered for cell in usual if cell is not None and cell.ordered]
        has_short_years = form.endswith("YY") and not form.endswith("YYYY")
        return Weight(
            form,
            bool(ordered),
            {"day": int(masks["day"].sum()), "month": int(masks["month"].sum())},
            int(masks[""].sum()),
            {name: int(mask.argmax()) for name, mask in masks.items() if mask.any()},
            has_short_years and bool(ordered) and _may_be_years(ordered, "-" in form),
        )

    def parse(self, form: str, order: Order) -> Dates:
        """Read the cells in a form and order."""
        count = len(self._texts)
        walls = np.full(count, np.datetime64("NaT"), "datetime64[ns]")
        offsets, zoned = np.zeros(count, "timedelta64[ns]"), np.zeros(count, bool)
        missing = np.array([text.strip().lower() in MISSING for text in self._texts], bool)
        shown = describe(form, order)
        wrong: dict[int, tuple[str, str]] = {}
        for place, cell in enumerate(self._found):
            if missing[place]:
                continue
            if cell is None:
                wrong[place] = ("no date", f"expected a date{f' such as {shown}' if form else ''}")
            elif cell.form != form:
                wrong[place] = ("another form of date", f"expected {shown} as in the rest of the column")
            elif (moment := cell.at(order)) is None or not 1678 <= moment.year <= 2261:
                wrong[place] = ("no such day", f"expected {shown}")
            else:
                walls[place] = np.datetime64(moment, "ns")
                if cell.offset is not None:
                    zoned[place], offsets[place] = True, np.timedelta64(cell.offset, "ns")
        codes = self._codes
        faults = {row: wrong[code] for row, code in enumerate(codes.tolist()) if code in wrong} if wrong else {}
        return Dates(walls[codes], (walls - offsets)[codes], zoned[codes], missing[codes], faults)


def _may_be_years(ordered: list[tuple[int, int, int]], is_dashed: bool) -> bool:
    """Whether the first of three two-digit numbers may be the year, and the last the day.

    Years change less than days do; with dashes the year often comes first, so that an equal count decides nothing.
    """
    firsts, lasts = ({numbers[place] % 100 for numbers in ordered} for place in (0, 2))
    if not all(1 <= last <= 31 for last in lasts):
        return False
    return len(firsts) < len(lasts) or (is_dashed and len(firsts) == len(lasts))


def describe(form: str, order: Order) -> str:
    """Return a form with its day and month in their places."""
    first, second = ("DD", "MM") if order == "day" else ("MM", "DD")
    return form.replace("?", first, 1).replace("?", second, 1)


def _readings(cell: _Cell) -> str:
    if cell.ordered is None:
        return ""
    day, month = cell.at("day"), cell.at("month")
    if day is not None and month is not None:
        return "either" if day != month else "same"
    return "day" if day is not None else "month" if month is not None else ""


def _read(text: str) -> _Cell | None:
    text = " ".join(text.split())
    if text[:1].isdigit():
        if found := _ISO.fullmatch(text):
            return _dated(f"YYYY{found['mark']}MM{found['mark']}DD", found, found["month"], found["day"])
        if found := _ORDERED.fullmatch(text):
            mark, year = found["mark"], int(found["year"])
            form = f"?{mark}?{mark}{'Y' * len(found['year'])}"
            time = _time(found)
            numbers = (int(found["a"]), int(found["b"]), _whole_year(found["year"]) if year < 100 else year)
            return _Cell(form, numbers, None, time, _offset(found["zone"])) if time is not None else None
        if found := _COMPACT.fullmatch(text):
            return _dated("YYYYMMDD", found, found["month"], found["day"])
        return _counted(text) or _named(text)
    return _named(text)


def _counted(text: str) -> _Cell | None:
    if found := _SERIAL.fullmatch(text):
        moment = _SPREADSHEET + timedelta(days=int(found[1]), seconds=round(float(f"0.{found[2] or 0}") * 86_400))
        return _Cell("days of a spreadsheet", known=moment)
    if (found := _UNIX.fullmatch(text)) and len(found[1]) in _EPOCH_UNITS:
        unit, per_second = _EPOCH_UNITS[len(found[1])]
        seconds, rest = divmod(int(found[1]), per_second)
        micros = rest * 10**6 // per_second + round(float(f"0.{found[2] or 0}") * 10**6 / per_second)
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=micros)
        return _Cell(f"Unix time in {unit}", known=moment, offset=timedelta())
    return None


def _named(text: str) -> _Cell | None:
    plain = unicodedata.normalize("NFKD", text).casefold()
    found = _NAMED.fullmatch("".join(one for one in plain if not unicodedata.combining(one)))
    month = _MONTHS.get(found["name"] or found["name2"]) if found else None
    return (
        _dated("day, name of the month, year", found, str(month), found["day"] or found["day2"])
        if found and month
        else None
    )


def _dated(form: str, found: re.Match[str], month: str, day: str) -> _Cell | None:
    time = _time(found)
    if time is None:
        return None
    return _Cell(
        form, None, _moment(_whole_year(found["year"]), int(month), int(day), time), time, _offset(found["zone"])
    )


def _moment(year: int, month: int, day: int, time: timedelta) -> datetime | None:
    try:
        return datetime(year, month, day) + time
    except (ValueError, OverflowError):
        return None


def _time(found: re.Match[str]) -> timedelta | None:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    half = (found.groupdict().get("half") or "").lower()
    if hour > 23 or minute > 59 or second > 59 or (half and not 1 <= hour <= 12):
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    micros = int(((found["fraction"] or "") + "000000")[:6])
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micros)


def _offset(zone: str | None) -> timedelta | None:
    if not zone:
        return None
    digits = re.sub(r"\D", "", zone)
    sign = -1 if zone.startswith("-") else 1
    return sign * timedelta(hours=int(digits[:2] or 0), minutes=int(digits[2:] or 0))


def _whole_year(digits: str) -> int:
    # As POSIX reads %y: 69 to 99 are of the 1900s.
    year = int(digits)
    return year if len(digits) > 2 else year + (1900 if year > 68 else 2000)

"""From text to rows of cells: the separator, the heading, what stands before and after the table, and ragged rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from training.data.quality import BadDataError, Fault
from training.data.reading.columns import Column, find_missing, match, simplify

SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
MOST_BEFORE: Final = 100
"""Lines in which the heading is looked for."""

MOST_LINES: Final = 500
"""Of one row: where a quoted cell is longer, a quote was opened by mistake."""

MOST_CHARACTERS: Final = 1 << 24
"""Of one cell."""

_STRAY: Final = re.compile("[\udc80-\udcff]")
_TOTALS: Final = re.compile(
    r"\W*((grand|sub|sous)[ -]?)?(total|totals|totaux|sum|somme|solde|balance|closing|ending|opening)\b", re.IGNORECASE
)
_HAS_DATE: Final = re.compile(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}|\d{8}")


@dataclass
class Rows:
    """The rows of a text.

    Attributes
    ----------
    separator
        One of `SEPARATORS`.
    heading
        Its cells, and in `heading_line` the line it stands in, from 1.
    places
        Column name to the places of the heading that name it.
    cells
        Of each row that has as many as the heading.
    numbers, lines
        Of each of these rows: its number among all rows of the file, from 0, and its line in the file, from 1.
    count
        Rows of the file, the refused ones included.
    faults, notes
        Which rows were refused, and what was left out that is no row.
    """

    separator: str
    heading: list[str]
    heading_line: int
    places: dict[str, list[int]]
    cells: list[list[str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    count: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split(text: str, columns: Sequence[Column], file: str) -> Rows:
    """Split a text into rows.

    Parameters
    ----------
    text
        Of the whole file.
    columns
        What is looked for; the separator and the heading are those that show most of it.
    file
        Name to report faults under.

    Raises
    ------
    training.data.quality.BadDataError
        If no line is a heading with the required columns.
    """
    csv.field_size_limit(MOST_CHARACTERS)
    lines = list(io.StringIO(text, newline=""))  # at line ends alone, unlike str.splitlines
    try:
        rows, start = _find_heading(lines, columns, file)
        _fill(rows, lines, start, columns, file)
    except csv.Error as error:
        raise BadDataError([Fault(file, None, "unreadable file", f"expected a table, got: {error}")]) from None
    return rows


def _fill(rows: Rows, lines: list[str], start: int, columns: Sequence[Column], file: str) -> None:
    needed = [rows.places[one.name][0] for one in columns if one.is_needed and one.name in rows.places]
    width, least = len(rows.heading), 1 + max(needed, default=-1)

    def fits(cells: list[str]) -> bool:
        return len(cells) == width or (least <= len(cells) and not any(cell.strip() for cell in cells[width:]))

    empty = repeated = 0
    is_unfinished = not lines[-1].endswith(("\n", "\r"))
    has_strays = any(_STRAY.search(line) for line in lines)
    for begin, end, cells, is_open in _records(lines, start, rows.separator, fits):
        if not any(cell.strip() for cell in cells):
            empty += 1
            continue
        if cells[0].strip() == rows.heading[0] and [cell.strip() for cell in cells] == rows.heading:
            repeated += 1
            continue
        is_cut = is_unfinished and end == len(lines) and len(cells) < width
        kind = wrong = ""
        if has_strays and _STRAY.search("".join(cells)):
            kind, wrong = "stray bytes", "expected characters of the file's encoding"
        elif is_open:
            kind, wrong = "open quote", "expected a closing quote"
        elif not fits(cells) or is_cut:
            hint = " (a separator inside a cell needs quotes)" if len(cells) > width else ""
            kind, wrong = "ragged row", f"expected {width} cells as the heading has, got {len(cells)}{hint}"
        if not kind:
            rows.cells.append(cells if len(cells) == width else [*cells[:width], *[""] * (width - len(cells))])
            rows.numbers.append(rows.count)
            rows.lines.append(begin + 1)
        else:
            detail = f"line {begin + 1}: {wrong}: {printable(rows.separator.join(cells))!r}"
            rows.faults.append(Fault(file, rows.count, kind, detail))
        rows.count += 1
    for count, what in ((empty, "line without a value"), (repeated, "line that repeats the heading")):
        if count:
            rows.notes.append(f"left out: {count:,} x {what}")
    _cut_trailer(rows, needed, is_unfinished)


def printable(text: str, most: int = 80) -> str:
    """Return the beginning of a cell or line as it can be shown: stray bytes as U+FFFD."""
    return _STRAY.sub("\ufffd", text[:most])


def _find_heading(lines: list[str], columns: Sequence[Column], file: str) -> tuple[Rows, int]:
    best: tuple[tuple[bool, int, int], Rows, int] | None = None
    for separator in SEPARATORS:
        for begin, end, cells, _ in _records(lines[:MOST_BEFORE], 0, separator, lambda _: False):
            heading = [cell.strip() for cell in cells]
            places = match(heading, columns)
            named = sum(any(simplify(cell)) for cell in heading)
            rank = (not find_missing(places, columns) and bool(places), len(places), min(named, 2))
            if best is None or rank > best[0]:
                best = rank, Rows(separator, heading, begin + 1, places), end
    if best is None:
        raise BadDataError([Fault(file, None, "no heading", "expected a line of column names, got none")])
    rank, rows, end = best
    if not rank[0]:
        missing = [column for column in find_missing(rows.places, columns)]
        wanted = ", ".join(_known_by(column) for column in missing[:4])
        wanted += f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        got = ", ".join(heading for heading in rows.heading if heading) or "nothing"
        detail = f"expected a heading {wanted}; line {rows.heading_line} is the likeliest heading, with {got[:300]}"
        raise BadDataError([Fault(file, None, f"missing column {missing[0].name}", detail)])
    if rows.heading_line > 1:
        rows.notes.append(f"left out: {rows.heading_line - 1} x line before the heading")
    return rows, end


def _known_by(column: Column) -> str:
    others = ", ".join(repr(heading) for heading in column.headings[:6])
    instead = f", or {' and '.join(map(repr, column.instead))}" if column.instead else ""
    return f"{column.name!r}" + (f" (also {others}{instead})" if others or instead else "")


def _records(
    lines: list[str], start: int, separator: str, fits: Callable[[list[str]], bool]
) -> Iterator[tuple[int, int, list[str], bool]]:
    """Yield the rows from a line on: first line, line after the last, cells, whether a quote was left open.

    A row that goes over several lines and does not fit the heading, or has quotes inside quotes, began with a quote
    that closes nothing: its first line is that row, and reading continues at the second.
    """
    opening = re.compile(rf'(?:^|{re.escape(separator)})"')
    at = start
    while at < len(lines):
        fed = at

        def feed() -> Iterator[str]:
            nonlocal fed
            while fed < len(lines) and fed - at < MOST_LINES:  # noqa: B023 - read while this pass of the loop lasts
                fed += 1
                yield lines[fed - 1]

        for cells in csv.reader(feed(), delimiter=separator):
            begin, at = at, fed
            is_open = at == len(lines) and sum(line.count('"') for line in lines[begin:at]) % 2 > 0
            if at - begin > 1 and (
                at - begin >= MOST_LINES or not fits(cells) or not _is_closed(lines[begin:at], separator)
            ):
                at = begin + 1
                yield begin, at, lines[begin].rstrip("\r\n").split(separator), True
                break
            yield begin, at, cells, is_open and opening.search(lines[begin]) is not None


def _is_closed(lines: list[str], separator: str) -> bool:
    try:
        return len(list(csv.reader(lines, delimiter=separator, strict=True))) == 1
    except csv.Error:
        return False


def _cut_trailer(rows: Rows, needed: list[int], is_unfinished: bool) -> None:
    """Leave out the lines after the table: totals and remarks, without what each row must have."""
    texts = []
    faults = {fault.index: fault for fault in rows.faults}
    while rows.count:
        last = rows.count - 1
        if rows.numbers and rows.numbers[-1] == last:
            filled = [cell.strip() for cell in rows.cells[-1] if cell.strip()]
            is_row = all(rows.cells[-1][place].strip() for place in needed)
            text = rows.separator.join(filled)
        else:
            text, is_row = faults[last].detail.split(": ", 2)[-1].strip("'\""), False
            filled = [cell for cell in text.split(rows.separator) if cell.strip()]
        # What has a date besides its label may be a row that is damaged: it is refused, not left out.
        is_dated = len(filled) > 1 and any(_HAS_DATE.search(cell) for cell in filled[1:])
        is_total = bool(filled) and _TOTALS.match(filled[0]) is not None
        if is_row or is_dated or not (is_total or (_is_remark(filled) and not is_unfinished)):
            break
        texts.append(text)
        rows.count = last
        if rows.numbers and rows.numbers[-1] == last:
            for kept in (rows.cells, rows.numbers, rows.lines):
                kept.pop()
        else:
            rows.faults.remove(faults[last])
    for text in reversed(texts):
        rows.notes.append(f"left out after the table: {text[:80]!r}")


def _is_remark(filled: list[str]) -> bool:
    return len(filled) == 1 and filled[0][:1].isalpha()

"""Plots as SVG, made here: axes with units, a legend, and a table of the same numbers behind each.

Nothing in them is a style or a script, so they are shown under a strict content security policy; colours are classes of
the style sheet, which knows light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from marina.rollout.explain import clock

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 36
MOST_TICKS = 5


@dataclass(frozen=True)
class Line:
    """Points of one thing: times and values; `name` is for the legend."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, names: Sequence[str], pairs: Sequence[tuple[float, float]], legend: tuple[str, str]) -> Markup:
    """Plot two shares for each of some names: what was expected, and what is.

    Parameters
    ----------
    pairs
        From 0 to 1, by name: the reference's, and now's.
    """
    top = max([value for pair in pairs for value in pair] + [0.01])
    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    parts = [_axis(top, lambda value: f"{100 * value:.3g} %")]
    for place, (name, pair) in enumerate(zip(names, pairs, strict=True)):
        for side, value in enumerate(pair):
            high = (HEIGHT - TOP - BOTTOM) * value / top
            x = LEFT + step * (place + 0.12 + 0.38 * side)
            parts.append(
                f'<rect class="s{side}" x="{x:.1f}" y="{HEIGHT - BOTTOM - high:.1f}" width="{0.36 * step:.1f}" '
                f'height="{high:.1f}"></rect>'
            )
        if len(names) <= 8 or place % math.ceil(len(names) / 8) == 0:
            x = LEFT + step * (place + 0.5)
            parts.append(f'<text class="tick mid" x="{x:.1f}" y="{HEIGHT - 20}">{escape(name[:14])}</text>')
    rows = [
        (name, f"{100 * before:.2f} %", f"{100 * now:.2f} %") for name, (before, now) in zip(names, pairs, strict=True)
    ]
    return _figure(title, parts, legend, ("", *legend), rows)


def lines(title: str, series: Sequence[Line], unit: str, top: float | None = None) -> Markup:
    """Plot values over time (seconds since 1970)."""
    every = [point for one in series for point in one.points]
    if not every:
        return Markup("")
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    high = top or max(y for _, y in every)
    high = high if high > 1e-6 else 1.0  # nothing but rounding
    wide = (WIDTH - LEFT - RIGHT) / max(last - first, 1e-9)

    def place(x: float, y: float) -> str:
        return f"{LEFT + (x - first) * wide:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / high:.1f}"

    parts = [_axis(high, lambda value: f"{value:.3g} {unit}".strip())]
    for side, one in enumerate(series):
        parts.append(
            f'<polyline class="l{side % 6}" points="{" ".join(place(*point) for point in one.points)}"></polyline>'
        )
    for part in range(3 if last > first else 1):
        x = first + (last - first) * part / 2
        anchor = ("", " mid", " end")[part]
        at = LEFT + (x - first) * wide
        parts.append(f'<text class="tick{anchor}" x="{at:.1f}" y="{HEIGHT - 20}">{escape(_at(x, last - first))}</text>')
    rows = [(_at(x, last - first), one.name, f"{y:.4g} {unit}".strip()) for one in series for x, y in one.points[-40:]]
    return _figure(title, parts, tuple(one.name for one in series), ("", "", title), rows)


@dataclass(frozen=True)
class Week:
    """One week of a quantity: its name, how many answers, and its quantiles 10 %, 50 % and 90 %."""

    name: str
    answers: int
    quantiles: tuple[float, float, float]


def weekly(title: str, weeks: Sequence[Week], band: tuple[float, float, float], legend: tuple[str, str]) -> Markup:
    """Plot a quantity's quantiles week by week over the band of a reference's.

    Parameters
    ----------
    band
        The reference's quantiles: 10 %, 50 %, 90 %.
    legend
        What the band is called, and what the weeks are.
    """
    every = [*band, *(value for week in weeks for value in week.quantiles)]
    low, high = min(every), max(every)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    low, high = low - room, high + room
    step = (WIDTH - LEFT - RIGHT) / len(weeks)

    def height(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    top, middle, bottom = height(band[2]), height(band[1]), height(band[0])
    parts = [
        _axis(high, lambda value: f"{value:.3g}", low),
        f'<rect class="band" x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{max(bottom - top, 1):.1f}"></rect>',
        f'<line class="middle" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle:.1f}" y2="{middle:.1f}"></line>',
    ]
    for place, week in enumerate(weeks):
        x = LEFT + step * (place + 0.5)
        ends = [height(value) for value in week.quantiles]
        parts.append(f'<line class="week" x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[2]:.1f}"></line>')
        parts.append(f'<circle class="s1" cx="{x:.1f}" cy="{ends[1]:.1f}" r="4"></circle>')
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{HEIGHT - 20}">{escape(week.name[5:])}</text>')
    rows = [(legend[0], "", *(f"{value:.4g}" for value in band))]
    rows += [(week.name, f"{week.answers}", *(f"{value:.4g}" for value in week.quantiles)) for week in weeks]
    return _figure(title, parts, legend, ("", "n", "10 %", "50 %", "90 %"), rows)


def bound(value: float, needed: float, about: str) -> Markup:
    """Plot how far a value is on its way to a bound."""
    share = 0.0 if needed <= 0 or not math.isfinite(value) else max(0.0, min(1.0, value / needed))
    return Markup(
        '<svg class="bound" viewBox="0 0 200 12" role="img" aria-label="{}"><rect class="track" width="200" '
        'height="12" rx="3"></rect><rect class="{}" width="{}" height="12" rx="3"></rect>'
        '<line x1="199" x2="199" y2="12"></line></svg>'
    ).format(f"{about}: {100 * share:.0f} %", "full" if share >= 1 else "part", f"{198 * share:.1f}")


def _at(x: float, span: float) -> str:
    text = clock(x)
    return text[11:19] if span < 600 else text[11:16] if span < 86_400 else text[5:10]


def _axis(high: float, write: Callable[[float], str], low: float = 0.0) -> str:
    parts = []
    for part in range(MOST_TICKS):
        value = low + (high - low) * part / (MOST_TICKS - 1)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part / (MOST_TICKS - 1)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"></line>')
        parts.append(f'<text class="tick end" x="{LEFT - 4}" y="{y + 3:.1f}">{escape(write(value))}</text>')
    return "".join(parts)


def _figure(
    title: str, parts: Sequence[str], legend: Sequence[str], head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Markup:
    keys = []
    for side, name in enumerate(legend[:6]):
        x = LEFT + side * (WIDTH - LEFT) // max(1, min(6, len(legend)))
        keys.append(f'<rect class="s{side}" x="{x}" y="{HEIGHT - 11}" width="9" height="9"></rect>')
        keys.append(f'<text class="tick" x="{x + 13}" y="{HEIGHT - 3}">{escape(name[:28])}</text>')
    body = Markup("").join(Markup(one) for one in [*parts, *keys])  # every text in them was escaped
    cells = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    )
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in head)
    return Markup(
        '<figure><figcaption>{}</figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        '<details><summary aria-label="table">⊞</summary><div class="wide"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table>"
        "</div>"
        "</details></figure>"
    ).format(title, WIDTH, HEIGHT, title, body, heads, cells)

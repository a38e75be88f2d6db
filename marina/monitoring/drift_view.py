"""A drift report in the terminal: what moved, the figures of each window, and what could have been seen."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marina.monitoring.dispersion import WARM_UP
from marina.monitoring.drift_reports import DriftReport, Window
from marina.monitoring.window_figures import Figures, WindowFigures

ROWS = 12
"""Of the quantities those with the largest effects are shown."""


def state(made: DriftReport) -> str:
    """Return what a report comes to, in a sentence."""
    watched = made.watched
    if made.moved:
        more = f" and {len(made.moved) - 3} more" if len(made.moved) > 3 else ""
        return (
            f"DRIFT ({made.level}): {', '.join(made.moved[:3])}{more}. The detectors wait for a decision: "
            "python scripts/alerts.py"
        )
    if watched is None:
        return "not watched yet: no watcher has seen this version (is a server running?)"
    if made.batches_missing:
        each = watched.requests / watched.batches if watched.batches else math.nan
        more = f", about {made.batches_missing * each:,.0f} requests" if math.isfinite(each) else ""
        return (
            f"needs {made.batches_missing} more batches of {WARM_UP}{more}: until then only shifts that are large in "
            "every batch are seen"
        )
    return f"no drift found in {watched.requests:,} requests; evidence {evidence(made)}"


def evidence(made: DriftReport) -> str:
    """Return the strongest stream's evidence beside what it needs."""
    watched = made.watched
    if watched is None or not math.isfinite(watched.evidence):
        return "none yet"
    return f"{watched.evidence:.1f} of {watched.needed:.1f}"


def render(made: DriftReport) -> RenderableType:
    """Return a report for rich to print."""
    parts: list[RenderableType] = [Text(f"{made.model} {made.version}", style="bold"), Text(state(made))]
    parts.append(Text(f"harm: {made.harm}"))
    for window in made.windows:
        parts.append(_summary(window))
    if shown := quantities(made.windows[0].figures):
        table = Table(title=f"quantities, the last {made.windows[0].days:g} days", title_justify="left")
        for place, name in enumerate(HEAD):
            table.add_column(name, justify="left" if place == 0 else "right")
        for one in shown[:ROWS]:
            table.add_row(*cells(one))
        parts.append(table)
    if made.detectable:
        parts.append(Text("a day like today would have shown: " + "; ".join(detectable_words(made)[:4])))
    return Group(*parts)


HEAD = ("quantity", "rows", "KS", "p", "moved", "PSI", "by chance", "effect", "missing")


def cells(one: Figures) -> tuple[str, ...]:
    """Return a table's row about one quantity, under `HEAD`."""
    return (
        one.name,
        f"{one.rows:,}",
        f"{one.distance:.3f}",
        f"{one.p:.2g}",
        "yes" if one.moved else "no",
        f"{one.stability:.3f}",
        f"{one.chance:.3f}",
        f"{one.effect:.3f}",
        f"{100 * one.missing:.1f} % ({100 * one.missing_before:.1f} %)",
    )


def quantities(figures: WindowFigures) -> list[Figures]:
    """Return labels and confidence, then the quantities by their effect."""
    answers = [one for one in (figures.labels, figures.confidence) if one is not None]
    return answers + sorted(figures.quantities, key=lambda one: (-one.effect, one.p, one.name))


def detectable_words(made: DriftReport) -> list[str]:
    """Return what a day like today would have shown, as texts."""
    return [
        f"{one.about} {100 * one.share:.1f} % → {100 * one.detectable:.1f} %"
        for one in made.detectable
        if one.detectable < 1
    ] or ["nothing: too few requests"]


def _summary(window: Window) -> Text:
    figures = window.figures
    scores = (
        ("data", figures.data_effect),
        ("predictions", figures.prediction_effect),
        ("performance", window.performance.effect),
    )
    words = [f"{name} {'unknown' if score is None else f'{score:.3f}'}" for name, score in scores]
    extra = [
        f"{name} {100 * value:.1f} %"
        for name, value in (
            ("zeros", figures.zeros),
            ("most frequent answer", figures.alike),
            ("unlike", figures.unlike),
        )
        if math.isfinite(value)
    ]
    return Text(f"{window.days:g} days, {window.answers:,} answers: {', '.join(words + extra)}")

"""A drift report as a page: one HTML file, with pictures of the distributions."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from marina.monitoring.drift_reports import DriftReport
from marina.monitoring.drift_view import HEAD, cells, detectable_words, evidence, quantities, state
from marina.monitoring.streams import Requests, Watchlist
from marina.processes.report_page import (
    CHANGED,
    STABLE,
    axes_style,
    heading,
    page,
    paragraph,
    picture,
    table,
    tiles,
    verdict,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 12
MOST_LABELS = 25
ACROSS = 3


def render(made: DriftReport, watchlist: Watchlist, requests: Requests) -> str:
    """Return the page.

    Parameters
    ----------
    made
        The report.
    watchlist
        Of the version.
    requests
        Those of the report's first window, for the pictures.
    """
    first = made.windows[0]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.created_at))
    parts = [verdict(state(made), False if made.detected else None if made.batches_missing != 0 else True)]
    parts.append(
        tiles(
            [
                ("data", _score(first.figures.data_effect), f"effect over {first.days:g} days"),
                ("predictions", _score(first.figures.prediction_effect), "effect: PSI beyond chance"),
                ("performance", _score(made.performance_effect), "accuracy lost, as a share"),
                ("evidence", evidence(made), "of the strongest stream"),
            ]
        )
    )
    parts += [heading("Harm"), paragraph(made.harm)]
    for window in made.windows:
        shown = quantities(window.figures)
        parts.append(heading(f"The last {window.days:g} days: {window.answers:,} answers"))
        parts.append(table(HEAD, [cells(one) for one in shown]) if shown else paragraph("Nothing to compare."))
    if made.recent_confidence is not None:
        distance, p = made.recent_confidence
        parts.append(paragraph(f"Confidence of the last 1,000 answers: KS {distance:.3f}, p {p:.2g}."))
    parts += [heading("Distributions"), paragraph("Blue: the reference. Orange: the shortest window above.")]
    if len(requests):
        parts.append(picture(distributions(made, watchlist, requests), "distributions"))
    parts += [heading("What a day like today would have shown"), *map(paragraph, detectable_words(made))]
    under = f"{when}. Reports never alarm; detectors do, on evidence. KS by Benjamini-Hochberg at 5 %."
    return page(f"Drift of {made.model} {made.version}", under, parts)


def distributions(made: DriftReport, watchlist: Watchlist, requests: Requests) -> "Figure":
    """Draw labels, confidence, and the quantities with the largest effects, each beside the reference."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    reference = watchlist.reference
    panels: list[tuple[str, Sequence[str], np.ndarray, np.ndarray]] = []
    if before := reference.label_counts:
        answers = Counter(requests.labels)
        often = sorted(before, key=lambda label: -before[label] - answers[label])[:MOST_LABELS]
        panels.append(("labels", often, _counts(before, often), _counts(answers, often)))
    sure = requests.confidence[np.isfinite(requests.confidence)]
    if reference.confidence is not None and len(sure):
        edges = np.linspace(0, 1, 21)
        both = [np.histogram(side, edges)[0] for side in (reference.confidence, sure)]
        panels.append(("confidence", [f"{edge:.2g}" for edge in edges[:-1]], both[0], both[1]))
    for one in sorted(made.windows[0].figures.quantities, key=lambda one: -one.effect)[: MOST_PANELS - len(panels)]:
        bins = watchlist.bins[one.name]
        names = [bins.name(place) for place in range(len(bins.counts))]
        panels.append((one.name, names, bins.counts, bins.count(requests.summary[one.name])))
    down = max(1, -(-len(panels) // ACROSS))
    with mpl.rc_context(axes_style()):
        figure = Figure(figsize=(3.4 * ACROSS, 2.3 * down), layout="constrained")
        for number, (title, ticks, reference_counts, counts) in enumerate(panels, start=1):
            axes = figure.add_subplot(down, ACROSS, number)
            places = np.arange(len(ticks))
            axes.bar(places - 0.2, reference_counts / max(reference_counts.sum(), 1), 0.4, color=STABLE)
            axes.bar(places + 0.2, counts / max(counts.sum(), 1), 0.4, color=CHANGED)
            axes.set_title(title, fontsize=9)
            axes.set_xticks(places, ticks, rotation=60, ha="right", fontsize=5)
    return figure


def _counts(counted: "dict[str, int] | Counter[str | None]", names: Sequence[str]) -> np.ndarray:
    return np.array([counted.get(name, 0) for name in names], float)


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"

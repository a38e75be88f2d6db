"""A comparison, as text and as a page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from marina.processes.report_page import (
    CHANGED,
    INK,
    STABLE,
    axes_style,
    heading,
    page,
    paragraph,
    picture,
    table,
    verdict,
)
from marina.rollout.judge.f1_metric import f1_interval, f1_of
from marina.rollout.judge.intervals import interval
from marina.rollout.reports.comparison import Comparison, Side, differences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[str, str, str, str]
"""What is compared, the baseline's, the candidate's, and the change."""

EXPLAINED = (
    "Metrics are {}. Times and failures are the gateway's, of each version's own requests. Intervals "
    "hold however often one looks; the p-value of McNemar's exact test is meant for one look."
)


def text(comparison: Comparison) -> str:
    """Return the comparison as lines of text."""
    lines = [_head(comparison), *rows(comparison)]
    widths = [max(len(line[place]) for line in lines) for place in range(4)]
    shown = [
        f"{name:<{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}  {change:>{widths[3]}}".rstrip()
        for name, before, after, change in lines
    ]
    return "\n".join([*shown, "", *_contract(comparison), "", comparison.verdict[1]])


def report(comparison: Comparison) -> str:
    """Return the comparison as a page."""
    better, words = comparison.verdict
    parts = [verdict(words, better), table(_head(comparison), rows(comparison))]
    parts += [heading("What clients send and get"), *map(paragraph, _contract(comparison))]
    if plot := figure(comparison):
        parts += [heading("Metrics on held-out data"), picture(plot, "metrics")]
    parts += [heading("How to read this"), paragraph(EXPLAINED.format(comparison.metrics_from))]
    title = f"{comparison.baseline.name} and {comparison.candidate.name}"
    return page(title, "baseline and candidate, side by side", parts)


def rows(comparison: Comparison) -> list[Row]:
    """Return everything that is known of both sides, or of one."""
    sides = (comparison.baseline, comparison.candidate)
    return _description_rows(*sides) + _observed_rows(*sides)


def _description_rows(*sides: Side) -> list[Row]:
    descriptions = [side.description for side in sides]
    if not any(descriptions):
        return []
    found = [
        _row(name, [getattr(one, attribute) if one else None for one in descriptions], shown, change)
        for name, attribute, shown, change in (
            ("archive, bytes", "archive_bytes", ",", True),
            ("graph, bytes", "graph_bytes", ",", True),
            ("golden gap", "gap", ".2g", False),
            ("  allowed", "tolerance", ".0e", False),
            ("git commit", "git_commit", ".12", False),
        )
    ]
    names = sorted({name for one in descriptions if one for name in one.metrics})
    return found + [
        _row(name, [one.metrics.get(name) if one else None for one in descriptions], ".4g") for name in names
    ]


def _observed_rows(*sides: Side) -> list[Row]:
    observed = [side.observed for side in sides]
    found = []
    if any(one.requests for one in observed):
        times = [one.p50_p95_ms or (None, None) for one in observed]
        found += [
            _row("requests", [one.requests for one in observed], ",", change=False),
            _row("  failed", [one.errors / one.requests if one.requests else None for one in observed], ".3%"),
            _row("  p50, ms", [p50 for p50, _ in times], ".2f"),
            _row("  p95, ms", [p95 for _, p95 in times], ".2f"),
        ]
    if any(one.labelled for one in observed):
        before, after = ("{:.2%} to {:.2%}".format(*interval(one.right, one.labelled)) for one in observed)
        found += [
            _row("labelled answers", [one.labelled for one in observed], ",", change=False),
            _row("  right", [one.right / one.labelled if one.labelled else None for one in observed], ".2%"),
            ("  95 %, if independent", before, after, ""),
        ]
    if any(one.flags.alarms for one in observed):
        before, after = ("{:.3f} to {:.3f}".format(*f1_interval(one.flags)) for one in observed)
        found.append(_row("F1 of yes and no", [f1_of(one.flags) for one in observed], ".3f"))
        found.append(("  95 %, if independent", before, after, ""))
    return found


def _row(name: str, values: Sequence[Any], shown: str, change: bool = True) -> Row:
    before, after = ("-" if value is None else format(value, shown) for value in values)
    moved = ""
    if change and None not in values and before != after:
        moved = format(values[1] - values[0], f"+{shown}")
    return name, before, after, moved


def _head(comparison: Comparison) -> Row:
    return "", comparison.baseline.name, comparison.candidate.name, "change"


def _contract(comparison: Comparison) -> list[str]:
    before, after = comparison.baseline.description, comparison.candidate.description
    if before is None or after is None:
        return ["Contracts are not compared: an archive is missing."]
    found = differences(before.contract, after.contract)
    return [f"Contract: {one}." for one in found] or ["Contract: the same inputs, outputs, labels and limits."]


def figure(comparison: Comparison) -> "Figure | None":
    """Draw the metrics that both have: shares on one scale, amounts by how many times they are the baseline's."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    before, after = comparison.baseline.description, comparison.candidate.description
    if before is None or after is None or not (both := before.metrics.keys() & after.metrics.keys()):
        return None
    pairs = {name: (before.metrics[name], after.metrics[name]) for name in sorted(both)}
    shares = {name: pair for name, pair in pairs.items() if all(0 <= value <= 1 for value in pair)}
    amounts = {name: pair for name, pair in pairs.items() if name not in shares and min(pair) > 0}
    panels = [(draw, metrics) for draw, metrics in ((_dumbbells, shares), (_ratios, amounts)) if metrics]
    with mpl.rc_context(axes_style()):
        plot = Figure(figsize=(9, 0.8 * len(panels) + 0.3 * sum(len(one) for _, one in panels)), layout="constrained")
        heights = [len(metrics) + 2 for _, metrics in panels]
        for axes, (draw, metrics) in zip(
            plot.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0], panels, strict=True
        ):
            draw(axes, comparison, metrics)
            axes.set_yticks(range(len(metrics)), list(metrics))
            axes.invert_yaxis()
    return plot


def _dumbbells(axes: "Axes", comparison: Comparison, metrics: Mapping[str, tuple[float, float]]) -> None:
    places = range(len(metrics))
    before, after = zip(*metrics.values(), strict=True)
    axes.hlines(places, before, after, color=INK, linewidth=1)
    axes.plot(before, places, "o", color=STABLE, label=comparison.baseline.name)
    axes.plot(after, places, "o", color=CHANGED, label=comparison.candidate.name)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _ratios(axes: "Axes", comparison: Comparison, metrics: Mapping[str, tuple[float, float]]) -> None:
    ratios = [after / before for before, after in metrics.values()]
    axes.axvline(1, color=STABLE, linewidth=1)
    axes.hlines(range(len(ratios)), 1, ratios, color=INK, linewidth=1)
    axes.plot(ratios, range(len(ratios)), "o", color=CHANGED)
    axes.set_xscale("log")
    axes.set_xlabel(f"{comparison.candidate.name}: times {comparison.baseline.name}'s")

"""A rehearsal in one picture: who had the traffic, what the judge made of it, and what clients felt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demo.scenario import Release
from demo.simulated_clients import Seen
from marina.database.connection import Database
from marina.rollout import verdicts
from marina.rollout.judge.decision import GATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BIN_S = 2.0
COLOURS = ("#3b82c4", "#2f9e6e", "#d9822b", "#8b5fbf", "#c53030", "#808890")
GATE_STYLES = {"errors": "-", "latency": "--", "accuracy": ":"}
MOST = 2.0
"""Evidence beyond this multiple of what decides is drawn as no more."""

LEAST_ASKED = 3
"""A bin with fewer requests of a version has no latency to speak of."""


def picture(database: Database, seen: Sequence[Seen], releases: Sequence[Release]) -> Figure:
    """Draw a rehearsal over time: shares of the traffic, evidence of harm, latencies and errors.

    Parameters
    ----------
    database
        Has the verdicts.
    seen
        Every request of the clients.
    releases
        What was released meanwhile, in order.
    """
    from matplotlib.figure import Figure

    start = min(one.sent for one in seen)
    versions = sorted({one.version for one in seen if one.version})
    colours = {version: COLOURS[place % len(COLOURS)] for place, version in enumerate(versions)}
    figure = Figure(figsize=(12, 9), layout="constrained")
    shares, evidence, latency, errors = figure.subplots(4, 1, sharex=True, height_ratios=[3, 3, 2, 1])
    _shares(shares, seen, start, colours)
    _evidence(evidence, database, releases, start)
    _latency(latency, seen, start, colours)
    _errors(errors, seen, start, colours)
    for release in releases:
        started, ended = release.rollout.started_at - start, (release.rollout.ended_at or 0.0) - start
        bad = release.rollout.phase != "done"
        for axes in (evidence, latency, errors):
            axes.axvspan(started, ended, color="#c53030" if bad else "#2f855a", alpha=0.06, linewidth=0)
        said = f"{release.version}: {release.rollout.phase}" + (f"\nby {', '.join(release.gates)}" if bad else "")
        shares.annotate(
            said, ((started + ended) / 2, 1.02), ha="center", va="bottom", fontsize=9, annotation_clip=False
        )
    errors.set_xlabel("seconds")
    errors.set_xlim(0, max(one.sent for one in seen) - start)
    return figure


def _shares(axes: Axes, seen: Sequence[Seen], start: float, colours: dict[str, str]) -> None:
    edges, asked = _asked(seen, start, colours)
    total = np.maximum(sum(asked.values()), 1)
    axes.stackplot(edges, *(asked[version] / total for version in colours), colors=list(colours.values()),
                   labels=list(colours), linewidth=0, step="post")  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of traffic")
    axes.legend(loc="lower left", fontsize=8, ncols=len(colours))


def _evidence(axes: Axes, database: Database, releases: Sequence[Release], start: float) -> None:
    """Draw each gate's log evidence of harm, as a share of what decides."""
    for release in releases:
        times, found = [release.rollout.started_at - start], {gate: [0.0] for gate in GATES}
        with database.reading() as connection:
            for kept in verdicts.series(connection, release.rollout.id):
                times.append(kept.time - start)
                for one in kept.verdict().findings:
                    found[one.gate].append(float(np.clip(one.log_harm / one.log_harm_needed, 0.0, MOST)))
        for gate, values in found.items():
            label = gate if release is releases[0] else None
            axes.plot(times, values, GATE_STYLES[gate], color="#1d2329", marker=".", linewidth=1.6, label=label)
    axes.axhline(1, color="#c53030", linewidth=1, linestyle="--")
    axes.annotate("rolled back", (0, 1), va="bottom", fontsize=8, color="#c53030")
    axes.set_ylim(-0.05, MOST + 0.05)
    axes.set_ylabel("evidence of harm\n(log, 1 decides)")
    axes.legend(loc="upper left", fontsize=8, ncols=3)


def _latency(axes: Axes, seen: Sequence[Seen], start: float, colours: dict[str, str]) -> None:
    for version, colour in colours.items():
        mine = [one for one in seen if one.version == version and one.status == 200]
        bins = np.array([int((one.sent - start) / BIN_S) for one in mine])
        ms = np.array([one.ms for one in mine])
        places = [place for place in np.unique(bins).tolist() if (bins == place).sum() >= LEAST_ASKED]
        p50, p95 = (_broken(places, [float(np.percentile(ms[bins == place], q)) for place in places]) for q in (50, 95))
        axes.plot(p50[0], p50[1], color=colour, linewidth=1.6)
        axes.plot(p95[0], p95[1], color=colour, linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylabel("ms: median,\np95 dotted")


def _errors(axes: Axes, seen: Sequence[Seen], start: float, colours: dict[str, str]) -> None:
    rows = {"no one": "#000000"} | colours
    for row, (version, colour) in enumerate(rows.items()):
        failed = [one.sent - start for one in seen if one.status != 200 and (one.version or "no one") == version]
        axes.plot(failed, [row] * len(failed), "|", color=colour, markersize=9)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axes.set_ylabel("failed")


def _asked(
    seen: Sequence[Seen], start: float, colours: dict[str, str]
) -> tuple[NDArray[Any], dict[str, NDArray[np.int64]]]:
    last = max(one.sent for one in seen) - start
    edges = np.arange(math.ceil(last / BIN_S) + 1) * BIN_S
    return edges[:-1], {
        version: np.histogram([one.sent - start for one in seen if one.version == version], edges)[0]
        for version in colours
    }


def _broken(places: list[int], values: list[float]) -> tuple[list[float], list[float]]:
    """Return a line's points, broken where bins are missing."""
    x: list[float] = []
    y: list[float] = []
    for place, value in zip(places, values, strict=True):
        if x and place * BIN_S - x[-1] > BIN_S:
            x.append(math.nan)
            y.append(math.nan)
        x.append(place * BIN_S)
        y.append(value)
    return x, y

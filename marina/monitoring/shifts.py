"""What would be seen of a shift that has not happened: reference rows, changed, shown to the detectors."""

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from archives.errors import MarinaError
from archives.reference import Reference
from marina.monitoring import e_detector
from marina.monitoring.detector import Detector
from marina.monitoring.streams import Requests, Watchlist
from marina.monitoring.watch_settings import WatchSettings
from marina.monitoring.window_figures import WindowFigures, figures_of

BEFORE = 48
"""Batches without a shift that come first."""

HOUR_S = 3600.0

FORMS = "drift=SHARE, NAME=+S or NAME=-S (deviations), NAME=missing:SHARE, label:LABEL=SHARE, confidence=-POINTS"


class ShiftError(MarinaError, ValueError):
    """A shift that cannot be simulated; the message says which can."""


@dataclass(frozen=True)
class Shift:
    """One change of traffic.

    Attributes
    ----------
    kind
        ``drift``, ``moved``, ``missing``, ``label`` or ``confidence``.
    of
        The quantity or label.
    size
        A share, standard deviations, or a share of confidence.
    """

    kind: str
    of: str
    size: float


@dataclass(frozen=True)
class Seen:
    """What the detectors made of it.

    Attributes
    ----------
    batches
        Per repetition, how many batches of the shift passed until it was seen; infinite where it was not.
    early
        How many repetitions alarmed before the shift.
    named
        Streams that were named, with the share of the repetitions that named them.
    figures
        What a report of the shifted requests would show.
    """

    batches: NDArray[np.float64]
    early: int
    named: dict[str, float]
    figures: WindowFigures


def parse(text: str, reference: Reference) -> Shift:
    """Read a shift as it is written on a command line.

    Raises
    ------
    ShiftError
        When it has none of the `FORMS`, or there is no such quantity or label.
    """
    name, separator, value = text.rpartition("=")
    missing = value.startswith("missing:")
    kind = "missing" if missing else "drift" if name == "drift" else "confidence" if name == "confidence" else "moved"
    if name.startswith("label:"):
        kind, name = "label", name.removeprefix("label:")
    number = value.removeprefix("missing:")
    if not separator or not re.fullmatch(r"[+-]?\d*\.?\d+", number):
        raise ShiftError(f"--shift {text}: expected {FORMS}")
    size = float(number)
    if kind in ("drift", "missing", "label") and not 0 <= size <= 1:
        raise ShiftError(f"--shift {text}: expected a share from 0 to 1, got {size:g}")
    if kind in ("moved", "missing") and name not in reference.summary:
        raise ShiftError(f"--shift {text}: there is no quantity {name!r}; there are {_listed(reference.summary)}")
    if kind == "label" and name not in reference.labels:
        raise ShiftError(f"--shift {text}: there is no label {name!r}; there are {_listed(reference.labels)}")
    if kind == "confidence" and reference.confidence is None:
        raise ShiftError(f"--shift {text}: the reference has no confidence")
    if kind == "drift" and not reference.summary:
        raise ShiftError(f"--shift {text}: the reference has no quantities")
    return Shift(kind, name, size)


def sample(reference: Reference, count: int, rng: np.random.Generator) -> Requests:
    """Return requests as the reference's rows, at random."""
    rows = len(next(iter(reference.summary.values()), reference.confidence if reference.confidence is not None else ()))
    chosen = rng.integers(0, max(rows, 1), count)
    labels: list[str | None] = [None] * count
    if reference.predicted is not None and reference.labels:
        labels = [reference.labels[place] for place in reference.predicted[chosen].tolist()]
    confidence = np.full(count, math.nan)
    if reference.confidence is not None:
        confidence = reference.confidence[chosen].astype(np.float64)
    summary = {name: values[chosen] for name, values in reference.summary.items()}
    return Requests(summary, labels, confidence, np.arange(count))


def apply(shift: Shift, requests: Requests, reference: Reference, rng: np.random.Generator) -> Requests:
    """Return requests after a shift."""
    summary, count = dict(requests.summary), len(requests)
    if shift.kind == "drift":  # in a share of the requests every quantity is a standard deviation larger
        hit = (rng.random(count) < shift.size).astype(np.float32)
        moved = {name: values + hit * _spread(reference, name) for name, values in summary.items()}
        return replace(requests, summary=moved)
    if shift.kind == "moved":
        summary[shift.of] = summary[shift.of] + np.float32(shift.size) * _spread(reference, shift.of)
        return replace(requests, summary=summary)
    if shift.kind == "missing":
        summary[shift.of] = np.where(rng.random(count) < shift.size, np.float32(math.nan), summary[shift.of])
        return replace(requests, summary=summary)
    if shift.kind == "confidence":
        return replace(requests, confidence=np.clip(requests.confidence + shift.size, 0, 1))
    answered = rng.random(count) < shift.size
    others = [label for label in requests.labels if label != shift.of] or [shift.of]
    spare = rng.integers(0, len(others), count).tolist()
    return replace(
        requests, labels=[shift.of if one else others[place] for one, place in zip(answered, spare, strict=True)]
    )


def simulate(
    watchlist: Watchlist,
    shifts: list[Shift],
    settings: WatchSettings,
    size: int = 256,
    longest: int = 100,
    repetitions: int = 20,
    seed: int = 0,
) -> Seen:
    """Show the detectors a stretch without a shift, and then one with it.

    Parameters
    ----------
    size
        Requests of a batch, which takes an hour.
    longest
        Batches of the shift after which it counts as not seen.
    """
    reference, rng = watchlist.reference, np.random.default_rng(seed)
    limits = watchlist.limits(settings.tolerance)

    def shifted() -> Requests:
        requests = sample(reference, size, rng)
        for shift in shifts:
            requests = apply(shift, requests, reference, rng)
        return requests

    batches, named, early = np.full(repetitions, math.inf), dict[str, float](), 0
    for number in range(repetitions):
        detector = Detector.start(limits)
        for _ in range(BEFORE):
            evidence = detector.step(watchlist.observe(sample(reference, size, rng)), HOUR_S)
            if e_detector.moved_streams(evidence, settings.budget).any():
                early += 1
                detector.state = e_detector.start((len(limits),))
        for batch in range(1, longest + 1):
            evidence = detector.step(watchlist.observe(shifted()), HOUR_S)
            moved = e_detector.moved_streams(evidence, settings.budget)
            if moved.any():
                batches[number] = batch
                for place in np.flatnonzero(moved):
                    about = watchlist.streams[place].about
                    named[about] = named.get(about, 0.0) + 1 / repetitions
                break
    parts = [shifted() for _ in range(24)]
    day = Requests(
        {name: np.concatenate([part.summary[name] for part in parts]) for name in reference.summary},
        [label for part in parts for label in part.labels],
        np.concatenate([part.confidence for part in parts]),
        np.arange(24 * size),
    )
    return Seen(batches, early, dict(sorted(named.items(), key=lambda one: -one[1])), figures_of(watchlist, day))


def _spread(reference: Reference, name: str) -> np.float32:
    return np.float32(np.nanstd(reference.summary[name]) or 1.0)


def _listed(names: object) -> str:
    known = [str(name) for name in names] if hasattr(names, "__iter__") else []
    return ", ".join(known[:12]) + (", …" if len(known) > 12 else "") if known else "none"

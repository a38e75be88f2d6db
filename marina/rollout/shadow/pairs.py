"""What two versions answered to the same requests, out of the database."""

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from archives.errors import MarinaError
from marina.database.tables import INPUTS, LABELS, SHADOW_PAIRS
from marina.events.labelled_predictions import same_instance
from marina.rollout.judge.evidence import Pairs

MOST = 100_000
"""This many pairs are read, the newest."""
MOST_SLICES = 12
QUARTERS = (0.25, 0.5, 0.75)
JSON = "application/json"

Texts = NDArray[np.object_]
Numbers = NDArray[np.float64]


class NoPairsError(MarinaError, LookupError):
    """No shadow version has answered anything yet; the message says what to do."""


@dataclass(frozen=True)
class Answers:
    """Pairs of answers, as columns of one length, oldest first.

    Attributes
    ----------
    keys
        Request id and instance.
    clients
        Whose requests they were; None without a session.
    time
        When the user was answered, in seconds since 1970.
    status
        HTTP status of the shadow's answer.
    stable_label, shadow_label, truth
        Labels; None where there is none (yet).
    stable_confidence, shadow_confidence, stable_value, shadow_value
        Numbers; NaN where there is none.
    stable_ms, shadow_ms
        The handlers' own time.
    unanswered
        How many of stable's inputs, from the first of these to the last, the shadow was not asked.
    """

    model: str
    stable: str
    shadow: str
    keys: Sequence[tuple[str, int]]
    clients: Sequence[int | None]
    time: Numbers
    status: NDArray[np.int64]
    stable_label: Texts
    shadow_label: Texts
    truth: Texts
    stable_confidence: Numbers
    shadow_confidence: Numbers
    stable_value: Numbers
    shadow_value: Numbers
    stable_ms: Numbers
    shadow_ms: Numbers
    unanswered: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Where the shadow failed on what stable had answered."""
        failed: NDArray[np.bool_] = self.status != 200
        return failed

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Where both versions answered with a label."""
        return _there(self.stable_label) & _there(self.shadow_label)

    @property
    def agree(self) -> NDArray[np.bool_]:
        """Where both answered with the same label."""
        same: NDArray[np.bool_] = self.labelled & (self.stable_label == self.shadow_label)
        return same

    @property
    def right(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Where both labels can be judged by the true one, where stable's is it, and where the shadow's is."""
        judged = self.labelled & _there(self.truth)
        return judged, judged & (self.stable_label == self.truth), judged & (self.shadow_label == self.truth)

    @property
    def pairs(self) -> Pairs:
        """How often the shadow was worse than stable by the true label, alike, and better."""
        judged, stable, shadow = self.right
        worse, better = int((stable & ~shadow).sum()), int((shadow & ~stable).sum())
        return Pairs(worse, int(judged.sum()) - worse - better, better, int((judged & ~stable & ~shadow).sum()))


def read(connection: sa.Connection, model: str, shadow: str | None = None, stable: str | None = None) -> Answers:
    """Read the newest pairs of a model.

    Parameters
    ----------
    shadow, stable
        Which versions; those of the newest pair where they are not given.

    Raises
    ------
    NoPairsError
        When there is no such pair.
    """
    pair, label = SHADOW_PAIRS.c, LABELS.c
    wanted = [pair.model == model]
    wanted += [] if shadow is None else [pair.shadow == shadow]
    wanted += [] if stable is None else [pair.stable == stable]
    newest = connection.execute(
        sa.select(pair.shadow, pair.stable).where(*wanted).order_by(pair.time.desc()).limit(1)
    ).first()
    if newest is None:
        raise NoPairsError(
            f"{model}{f' {shadow}' if shadow else ''} has answered no request beside another version. Start a shadow: "
            f"python -m marina.rollout shadow start --model {model} --version VERSION"
        )
    columns = (
        sa.select(SHADOW_PAIRS, label.label.label("truth"))
        .outerjoin(LABELS, same_instance(pair))
        .where(pair.model == model, pair.shadow == newest.shadow, pair.stable == newest.stable)
        .order_by(pair.time.desc())
        .limit(MOST)
    )
    rows = connection.execute(columns).all()[::-1]
    inputs, times = INPUTS.c, (rows[0].time, rows[-1].time)
    kept = connection.execute(
        sa.select(sa.func.count()).where(
            inputs.model == model, inputs.version == newest.stable, inputs.time.between(*times)
        )
    ).scalar_one()

    def texts(name: str) -> Texts:
        return np.array([getattr(row, name) for row in rows], object)

    def numbers(name: str) -> Numbers:
        return np.array([getattr(row, name) for row in rows], np.float64)  # None becomes NaN

    return Answers(
        model,
        newest.stable,
        newest.shadow,
        [(row.request_id, row.instance) for row in rows],
        [row.client for row in rows],
        numbers("time"),
        np.array([row.status for row in rows], np.int64),
        texts("stable_label"),
        texts("shadow_label"),
        texts("truth"),
        numbers("stable_confidence"),
        numbers("shadow_confidence"),
        numbers("stable_value"),
        numbers("shadow_value"),
        numbers("stable_ms"),
        numbers("shadow_ms"),
        max(0, kept - len({row.request_id for row in rows})),
    )


def slices(connection: sa.Connection, answers: Answers, field: str) -> dict[str, NDArray[np.bool_]]:
    """Divide pairs by a scalar field of their JSON inputs.

    Returns
    -------
    dict of str to ndarray of bool
        Which pairs are in each slice: strings by value (the most frequent `MOST_SLICES`, then "other"), numbers by
        quarter. Inputs without the field, or no longer kept, are in "unknown". Empty when no input has it.
    """
    places: dict[str, list[int]] = {}
    for place, (request_id, _) in enumerate(answers.keys):
        places.setdefault(request_id, []).append(place)
    values: list[Any] = [None] * len(answers)
    inputs = INPUTS.c
    chosen = sa.select(inputs.request_id, inputs.body).where(
        inputs.model == answers.model,
        inputs.version == answers.stable,
        inputs.time.between(answers.time[0], answers.time[-1]),
        inputs.content_type == JSON,
    )
    for row in connection.execution_options(yield_per=500).execute(chosen):
        for place in places.get(row.request_id, ()):
            values[place] = _scalar(row.body, answers.keys[place][1], field)
    return dict(_by_value(values))


def _scalar(body: bytes, instance: int, field: str) -> str | float | None:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        sent = json.loads(body)
        value = (sent["instances"][instance] if "instances" in sent else sent)[field]
        if isinstance(value, bool):
            return str(value).lower()
        return value if isinstance(value, str | int | float) else None
    return None


def _by_value(values: Sequence[str | float | None]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    numbers = np.array([np.nan if value is None or isinstance(value, str) else value for value in values], np.float64)
    words = np.array([value if isinstance(value, str) else None for value in values], object)
    named, counts = np.unique(words[_there(words)].astype(str), return_counts=True)
    often = named[np.argsort(-counts, kind="stable")][:MOST_SLICES]
    for name in often:
        yield str(name)[:60], words == name
    if len(named) > MOST_SLICES:
        yield "other", _there(words) & ~np.isin(words.astype(str), often)
    known = np.isfinite(numbers)
    if known.any():
        edges = [-np.inf, *np.unique(np.quantile(numbers[known], QUARTERS)), np.inf]
        for low, high in itertools.pairwise(edges):
            within = known & (numbers > low) & (numbers <= high)
            if within.any():
                name = f"{low:.4g} to {high:.4g}"
                yield name.replace("-inf to", "up to") if high < np.inf else f"over {low:.4g}", within
    if (known | _there(words)).any() and not (known | _there(words)).all():
        yield "unknown", ~(known | _there(words))


def _there(texts: Texts) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = texts != None  # noqa: E711 - compared element by element
    return there

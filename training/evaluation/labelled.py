"""How good an archive is on recorded rows whose right answers are known, as its users would see it.

Each row is sent through the archive's handler, and its graph runs in the engine that serves, after the proof that a
worker asks for: a row that would be refused is refused here. A family's `labelled.py` says what the rows are, what the
answers to them mean, and what must not be taken apart when intervals are drawn: a person, a product, a week.
"""

from __future__ import annotations

import importlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from archives.archive import Archive
from archives.contract import ArchiveError, Contract
from archives.errors import MarinaError
from handlers.answers import Detailed
from handlers.base import Handler
from handlers.batch import Batch
from handlers.complaints import Complaints
from handlers.errors import InvalidError, RequestError
from training.evaluation import classification

RESAMPLES: Final = 200
"""Of the bootstrap; enough for 95 % intervals to two digits."""

LEAST_GROUPS: Final = 5
"""Groups below which no interval is given: of so few the bootstrap's is too narrow."""

AT_ONCE: Final = 256
"""Rows that are decoded and answered at once; only how much memory it takes follows from it."""

HANDLER: Final = re.compile(r"^from (handlers(?:\.[a-z_]+)+) import ([A-Za-z]+)$", re.M)

Columns = Mapping[str, npt.NDArray[Any]]
"""What answers amount to, each with one row per judged answer."""


class LabelledError(MarinaError, ValueError):
    """Rows cannot be asked about, or tell nothing of this archive."""


@dataclass(frozen=True)
class Labelled:
    """Rows with their right answers.

    Attributes
    ----------
    requests
        Each row as one instance: JSON fields, or an array as a `.npy` body holds it.
    described
        What they are, in a few words.
    grouped_by
        What a group is: "signer".
    judge
        Takes the positions of answered rows and their predictions, as a client gets them; returns columns for
        `figures`, and the group of each of their rows, str.
    figures
        The main figures, of any selection of the columns' rows.
    loss
        What each of the columns' rows costs, [N]: less is better, and its mean is what two archives are compared by.
    unit
        Of the loss: "errors", "EUR".
    labels
        What the whole numbers of a column ``truth`` stand for; empty where it has none.
    """

    requests: Sequence[Mapping[str, Any] | npt.NDArray[Any]]
    described: str
    grouped_by: str
    judge: Callable[[Sequence[int], Sequence[Any]], tuple[Columns, npt.NDArray[Any]]]
    figures: Callable[[Columns], Mapping[str, float]]
    loss: Callable[[Columns], npt.NDArray[Any]]
    unit: str = "errors"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """How an archive answered.

    Attributes
    ----------
    figures
        By name: the figure, and its 95 % interval, NaN where there are too few groups.
    rows, refused, first
        Rows asked about, those that were refused, and why the first one was.
    groups
        How many.
    """

    figures: Mapping[str, tuple[float, float, float]]
    rows: int
    refused: int
    first: str
    groups: int


def evaluate(archive: Archive, labelled: Labelled) -> Evaluation:
    """Ask an archive about rows, and judge its answers.

    Raises
    ------
    ArchiveError
        If the archive fails its proof.
    LabelledError
        If it answered no row.
    """
    with tempfile.TemporaryDirectory(prefix="marina-labelled-") as folder:
        archive.unpack(Path(folder))
        answers = ask(handler_of(archive, Path(folder)), labelled.requests)
    refused = [one for one in answers if isinstance(one, RequestError)]
    answered = [at for at, one in enumerate(answers) if not isinstance(one, RequestError)]
    if not answered:
        raise LabelledError(f"all {len(answers)} rows were refused, the first: {refused[0] if refused else 'none'}")
    columns, groups = labelled.judge(answered, [answers[at] for at in answered])
    found = intervals(labelled.figures, columns, groups)
    return Evaluation(found, len(answers), len(refused), str(refused[0]) if refused else "", len(np.unique(groups)))


def of_classes(
    requests: Sequence[Mapping[str, Any] | npt.NDArray[Any]],
    names: npt.NDArray[np.str_],
    groups: npt.NDArray[np.str_],
    contract: Contract,
    described: str,
    grouped_by: str,
) -> Labelled:
    """Return rows for a classifier that answers with lists of ``{"label", "probability"}``.

    Parameters
    ----------
    requests, described, grouped_by
        As of `Labelled`.
    names, groups
        The right label of each row, one that the archive knows, and the row's group, str [N] each.
    contract
        Of the archive.
    """
    truth = positions(names.tolist(), contract.labels)

    def judge(at: Sequence[int], answers: Sequence[Any]) -> tuple[Columns, npt.NDArray[Any]]:
        chosen = np.asarray(at, np.int64)
        columns = {"probabilities": probabilities_of(answers, contract.labels), "truth": truth[chosen]}
        return columns, groups[chosen]

    def figures(columns: Columns) -> Mapping[str, float]:
        return classification.evaluate(columns["probabilities"], columns["truth"], contract.labels).metrics

    def wrong(columns: Columns) -> npt.NDArray[Any]:
        return np.asarray(columns["probabilities"].argmax(axis=1) != columns["truth"])

    return Labelled(requests, described, grouped_by, judge, figures, wrong, labels=tuple(contract.labels))


def positions(names: Iterable[str], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return where names stand among the labels, int64 [N]."""
    place = {label: k for k, label in enumerate(labels)}
    return np.array([place[name] for name in names], np.int64)


def handler_of(archive: Archive, folder: Path) -> Handler[Any]:
    """Return this installation's handler of an archive that is unpacked in a folder, proven and loaded as by a worker.

    Raises
    ------
    ArchiveError
        If it fails its proof, or is answered by no handler of ours.
    """
    found = HANDLER.search(str(archive.members["service.py"], "utf-8"))
    if found is None:
        raise ArchiveError(f"{archive.name}: service.py imports no handler of ours; build the archive again")
    handler = getattr(importlib.import_module(found[1]), found[2], None)
    if not (isinstance(handler, type) and issubclass(handler, Handler)):
        raise ArchiveError(f"{archive.name}: {found[1]} has no handler {found[2]} here; use the release that built it")
    made = handler()
    made.load(folder, archive.serving.get("handler") or {}, None)
    return made


def ask(handler: Handler[Any], requests: Sequence[Mapping[str, Any] | npt.NDArray[Any]]) -> list[Any]:
    """Return the prediction of each instance with all labels, or in its place the error that a client would get."""
    batch = Batch(Complaints(logging.getLogger(__name__)), on_gpu=False)
    top_k = max(1, len(handler.contract.labels))
    answers: list[Any] = [None] * len(requests)
    for start in range(0, len(requests), AT_ONCE):
        items = {}
        for at, request in enumerate(requests[start : start + AT_ONCE], start):
            try:
                items[at] = (
                    handler.decode(dict(request)) if isinstance(request, Mapping) else handler.decode_array(request)
                )
            except InvalidError as error:
                answers[at] = error
        predicted = batch.predict(handler, list(items.values()), [top_k] * len(items)).predictions
        for at, answer in zip(items, predicted, strict=True):
            answers[at] = answer.prediction if isinstance(answer, Detailed) else answer
    return answers


def intervals(
    figures: Callable[[Columns], Mapping[str, float]], columns: Columns, groups: npt.NDArray[Any]
) -> dict[str, tuple[float, float, float]]:
    """Return each figure with its 95 % interval by the bootstrap over groups (percentiles; Efron & Tibshirani, 1993).

    Parameters
    ----------
    figures
        Computes them; NaN where one cannot be computed.
    columns, groups
        N rows, and the group of each: whole groups are drawn, with replacement.
    """
    point = figures(columns)
    names, of = np.unique(groups, return_inverse=True)
    if len(names) < LEAST_GROUPS:
        return {name: (value, float("nan"), float("nan")) for name, value in point.items()}
    order = np.argsort(of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(of))[:-1])
    rng = np.random.default_rng(0)
    samples: list[Mapping[str, float]] = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names)).tolist()])
        samples.append(figures({name: column[rows] for name, column in columns.items()}))
    found = {}
    for name, value in point.items():
        some = np.array([one[name] for one in samples if np.isfinite(one.get(name, np.nan))])
        low, high = np.quantile(some, [0.025, 0.975]).tolist() if len(some) else (float("nan"), float("nan"))
        found[name] = (value, low, high)
    return found


def probabilities_of(answers: Iterable[Sequence[Mapping[str, Any]]], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return lists of ``{"label", "probability"}`` as an array in the order of the labels, [N, labels]."""
    place = {label: k for k, label in enumerate(labels)}
    rows = list(answers)
    found = np.zeros((len(rows), len(labels)))
    for at, row in enumerate(rows):
        for one in row:
            found[at, place[one["label"]]] = one["probability"]
    return found


def known(truth: npt.NDArray[Any], contract: Contract, what: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows whose right answer the archive can give.

    Raises
    ------
    LabelledError
        If it can give none of them.
    """
    found = np.flatnonzero(np.isin(truth, contract.labels))
    if not len(found):
        mine, own = (", ".join(map(str, sorted(set(some))[:5])) for some in (truth.tolist(), contract.labels))
        raise LabelledError(f"expected rows of a {what} that {contract.model} knows ({own}, …), got {mine}, …")
    return found
